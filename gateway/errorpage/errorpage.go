// Package errorpage holds the answers that nginx has built in: the HTML page of
// a status, and the Content-Type of an answer that names none.
//
// It knows no requests and no configuration but the charset it is given.
package errorpage

// titles are nginx's own words. Statuses that are not here have no page.
var titles = map[int]string{
	301: "Moved Permanently",
	302: "Found",
	303: "See Other",
	307: "Temporary Redirect",
	308: "Permanent Redirect",
	400: "Bad Request",
	401: "Authorization Required",
	402: "Payment Required",
	403: "Forbidden",
	404: "Not Found",
	405: "Not Allowed",
	406: "Not Acceptable",
	408: "Request Time-out",
	409: "Conflict",
	410: "Gone",
	411: "Length Required",
	412: "Precondition Failed",
	413: "Request Entity Too Large",
	414: "Request-URI Too Large",
	415: "Unsupported Media Type",
	416: "Requested Range Not Satisfiable",
	421: "Misdirected Request",
	429: "Too Many Requests",
	500: "Internal Server Error",
	501: "Not Implemented",
	502: "Bad Gateway",
	503: "Service Temporarily Unavailable",
	504: "Gateway Time-out",
	505: "HTTP Version Not Supported",
	507: "Insufficient Storage",
}

// Statuses inside the gateway that the client sees as 400, with the reason on
// the page.
const (
	HeaderTooLarge = 494 // request header or cookie too large
	BadCert        = 495 // the client's certificate does not verify
	NoCert         = 496 // the client sent no certificate
	PlainToTLS     = 497 // plain HTTP on a TLS port
)

var reasons = map[int]string{
	HeaderTooLarge: "Request Header Or Cookie Too Large",
	BadCert:        "The SSL certificate error",
	NoCert:         "No required SSL certificate was sent",
	PlainToTLS:     "The plain HTTP request was sent to HTTPS port",
}

const (
	first = 300
	last  = 599
	tail  = "<hr><center>openresty</center>\r\n" +
		"<p><em>Powered by <a href=\"https://apisix.apache.org/\">APISIX</a>.</em></p></body>\r\n" +
		"</html>\r\n"
)

// pages are all pages, ready to send.
var pages = buildPages()

func buildPages() (p [last - first + 1][]byte) {
	for status, title := range titles {
		p[status-first] = []byte(head(line(status, title), line(status, title)) + tail)
	}
	for status, reason := range reasons {
		p[status-first] = []byte(head("400 "+reason, "400 Bad Request") + "<center>" + reason + "</center>\r\n" + tail)
	}
	return p
}

func line(status int, title string) string {
	return string([]byte{byte('0' + status/100), byte('0' + status/10%10), byte('0' + status%10), ' '}) + title
}

func head(title, heading string) string {
	return "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + heading + "</h1></center>\r\n"
}

// Page is the page of a status, or nil for one that has none: its answer has
// no body. The bytes belong to the package.
func Page(status int) []byte {
	if status < first || status > last {
		return nil
	}
	return pages[status-first]
}

// Status is what the client sees of status: 400 for those that only exist
// inside the gateway.
func Status(status int) int {
	if _, inside := reasons[status]; inside {
		return 400
	}
	return status
}
