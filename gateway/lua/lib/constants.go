package lib

import (
	"net/http"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// Constants are ngx.*.
var Constants = func() map[string]lua.LNumber {
	m := map[string]lua.LNumber{"OK": 0, "ERROR": -1, "AGAIN": -2, "DONE": -4, "DECLINED": -5,
		"STDERR": 0, "EMERG": 1, "ALERT": 2, "CRIT": 3, "ERR": 4, "WARN": 5, "NOTICE": 6, "INFO": 7, "DEBUG": 8,
		"HTTP_GET": 2, "HTTP_HEAD": 4, "HTTP_POST": 8, "HTTP_PUT": 16, "HTTP_DELETE": 32, "HTTP_MKCOL": 64,
		"HTTP_COPY": 128, "HTTP_MOVE": 256, "HTTP_OPTIONS": 512, "HTTP_PROPFIND": 1024, "HTTP_PROPPATCH": 2048,
		"HTTP_LOCK": 4096, "HTTP_UNLOCK": 8192, "HTTP_PATCH": 16384, "HTTP_TRACE": 32768,
		"HTTP_SPECIAL_RESPONSE": 300, "HTTP_CLOSE": 444, "HTTP_METHOD_NOT_IMPLEMENTED": 501, "HTTP_NOT_IMPLEMENTED": 501,
		"HTTP_GATEWAY_TIMEOUT": 504, "HTTP_ILLEGAL": 451, "HTTP_NOT_ALLOWED": 405, "HTTP_PERMANENT_REDIRECT": 308}
	for _, code := range []int{100, 101, 200, 201, 202, 204, 206, 300, 301, 302, 303, 304, 307, 400, 401, 402, 403, 404,
		406, 408, 409, 410, 426, 429, 500, 502, 503, 505, 507} {
		name := strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToUpper(http.StatusText(code)))
		m["HTTP_"+name] = lua.LNumber(code)
	}
	m["HTTP_MOVED_TEMPORARILY"], m["HTTP_VERSION_NOT_SUPPORTED"] = 302, 505
	return m
}()

// Methods are the request methods; the number of the one at i is 2<<i.
var Methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "MKCOL", "COPY", "MOVE", "OPTIONS", "PROPFIND", "PROPPATCH",
	"LOCK", "UNLOCK", "PATCH", "TRACE"}
