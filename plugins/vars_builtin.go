package plugins

import (
	"encoding/base64"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/gateway/wire"
)

// builtins are the variables that have a name of their own, by where their
// value comes from: nginx's words for the request and the answer, and APISIX's.
var builtins = map[string]source{
	"request_method":   {get: method},
	"method":           {get: method},
	"uri":              {get: path},
	"document_uri":     {get: path},
	"request_uri":      {get: requestURI},
	"real_request_uri": {get: func(c *Ctx) (string, bool) { return c.Req.Target, true }},
	"args":             {get: query},
	"query_string":     {get: query},
	"is_args":          {get: isArgs},
	"request":          {app: requestLine},
	"request_line":     {app: requestLine},
	"scheme":           {get: scheme},
	"https":            {get: https},
	"host":             {get: host},
	"hostname":         {get: func(*Ctx) (string, bool) { return hostname(), true }},
	"server_name":      {get: constant("_")},
	"server_protocol":  {get: protocol},
	"server_addr":      {get: func(c *Ctx) (string, bool) { return c.memo.local.get(c.Req.Local.Addr()) }},
	"server_port":      {get: func(c *Ctx) (string, bool) { return c.memo.ourPort.get(c.Req.Local.Port()) }},
	"remote_addr":      {get: func(c *Ctx) (string, bool) { return c.memo.client.get(c.Addr) }},
	"remote_port":      {get: func(c *Ctx) (string, bool) { return c.memo.clientPort.get(c.Port) }},
	"remote_user":      {app: remoteUser},
	"content_type":     {get: func(c *Ctx) (string, bool) { return c.Req.Header.Lookup("Content-Type") }},
	"content_length":   {get: contentLength},
	"request_body":     {get: requestBody},
	"request_id":       {app: func(c *Ctx, b []byte) ([]byte, bool) { return c.AppendID(b), true }},
	"request_length":   {app: requestLength},
	"request_time":     {app: func(c *Ctx, b []byte) ([]byte, bool) { return AppendSeconds(b, c.now().Sub(c.Start)), true }},
	"time_local":       {app: func(c *Ctx, b []byte) ([]byte, bool) { return c.now().AppendFormat(b, TimeLocal), true }},
	"time_iso8601":     {app: func(c *Ctx, b []byte) ([]byte, bool) { return c.now().AppendFormat(b, TimeISO8601), true }},
	"msec":             {app: msec},
	"pid":              {get: func(*Ctx) (string, bool) { return processID(), true }},

	"realip_remote_addr":   {get: func(c *Ctx) (string, bool) { return c.memo.peer.get(c.Req.Remote.Addr()) }},
	"realip_remote_port":   {get: realPort},
	"binary_remote_addr":   {app: binaryAddr},
	"status":               {app: status},
	"bytes_sent":           {app: func(c *Ctx, b []byte) ([]byte, bool) { return strconv.AppendInt(b, c.BytesSent, 10), true }},
	"body_bytes_sent":      {app: func(c *Ctx, b []byte) ([]byte, bool) { return strconv.AppendInt(b, c.BodySent, 10), true }},
	"request_completion":   {get: requestCompletion},
	"plugin_timeline":      {app: func(c *Ctx, b []byte) ([]byte, bool) { return c.timeline.Append(b) }},
	"apisix_request_id":    {app: func(c *Ctx, b []byte) ([]byte, bool) { return c.AppendID(b), true }},
	"route_id":             {get: routeID},
	"route_name":           {get: routeName},
	"service_id":           {get: serviceID},
	"service_name":         {get: serviceName},
	"consumer_name":        {get: consumerName},
	"consumer_group_id":    {get: consumerGroup},
	"resp_body":            {get: empty},
	"rate_limiting_info":   {app: rateLimitingInfo},
	"ssl_protocol":         {get: tlsProtocol},
	"ssl_cipher":           {get: tlsCipher},
	"ssl_curve":            {get: tlsCurve},
	"ssl_server_name":      {get: tlsServerName},
	"ssl_session_reused":   {get: tlsReused},
	"ssl_client_verify":    {get: tlsClientVerify},
	"ssl_client_s_dn":      {get: tlsClientSubject},
	"ssl_client_i_dn":      {get: tlsClientIssuer},
	"ssl_client_serial":    {get: tlsClientSerial},
	"ssl_client_raw_cert":  {get: tlsClientPEM},
	"ssl_client_v_start":   {get: tlsClientStart},
	"ssl_client_v_end":     {get: tlsClientEnd},
	"ssl_client_v_remain":  {get: tlsClientDays},
	"ssl_alpn_protocol":    {get: tlsALPN},
	"http2":                {get: http2},
	"http3":                {get: http3},
	"upstream_addr":        {app: upstreamAddr},
	"upstream_status":      {app: upstreamStatus},
	"upstream_scheme":      {get: upstreamScheme},
	"upstream_host":        {app: upstreamHost},
	"upstream_uri":         {get: func(c *Ctx) (string, bool) { return c.UpstreamURI, true }},
	"upstream_upgrade":     {get: func(c *Ctx) (string, bool) { return c.Req.Upgrade, true }},
	"upstream_connection":  {get: upstreamConnection},
	"balancer_ip":          {get: balancerIP},
	"balancer_port":        {get: balancerPort},
	"request_type":         {get: constant("traditional_http")},
	"request_llm_model":    {get: empty},
	"llm_model":            {get: empty},
	"llm_end_user_id":      {get: empty},
	"llm_stream":           {get: constant("false")},
	"llm_has_tool_calls":   {get: constant("false")},
	"llm_tool_count":       {get: constant("0")},
	"llm_prompt_tokens":    {get: constant("0")},
	"llm_total_tokens":     {get: constant("0")},
	"llm_reasoning_tokens": {get: constant("0")},

	"llm_completion_tokens":           {get: constant("0")},
	"llm_time_to_first_token":         {get: constant("0")},
	"llm_cache_read_input_tokens":     {get: constant("0")},
	"llm_cache_creation_input_tokens": {get: constant("0")},
	"llm_content_risk_level":          {get: empty},

	"upstream_unresolved_host":      {get: unresolvedHost},
	"upstream_connect_time":         {app: times(func(t *Try) time.Duration { return t.Connect })},
	"upstream_header_time":          {app: times(func(t *Try) time.Duration { return t.Header })},
	"upstream_response_time":        {app: times(func(t *Try) time.Duration { return t.Total })},
	"apisix_upstream_response_time": {app: times(func(t *Try) time.Duration { return t.Total })},
	"original_x_forwarded_for":      {get: bindOriginal("original_x_forwarded_for")},
	"original_x_forwarded_proto":    {get: bindOriginal("original_x_forwarded_proto")},
	"original_x_forwarded_host":     {get: bindOriginal("original_x_forwarded_host")},
	"original_x_forwarded_port":     {get: bindOriginal("original_x_forwarded_port")},
	"original_forwarded":            {get: bindOriginal("original_forwarded")},
	"var_x_forwarded_proto":         {get: scheme},
	"var_x_forwarded_host":          {get: host},
	"var_x_forwarded_port":          {get: func(c *Ctx) (string, bool) { return c.memo.ourPort.get(c.Req.Local.Port()) }},
	"proxy_add_x_forwarded_for":     {app: addForwardedFor},
}

// Layouts of the times of an access log.
const (
	TimeLocal   = "02/Jan/2006:15:04:05 -0700"
	TimeISO8601 = "2006-01-02T15:04:05-07:00"
)

var (
	hostname = sync.OnceValue(func() string {
		name, err := os.Hostname()
		if err != nil {
			return "unknown"
		}
		return name
	})
	processID = sync.OnceValue(func() string { return strconv.Itoa(os.Getpid()) })
)

func constant(s string) Getter { return func(*Ctx) (string, bool) { return s, true } }

func empty(*Ctx) (string, bool) { return "", true }

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func method(c *Ctx) (string, bool) { return c.Req.Method, c.Req.Method != "" }

func path(c *Ctx) (string, bool) { return c.Path, true }

func query(c *Ctx) (string, bool) { return c.Query, c.Query != "" }

func isArgs(c *Ctx) (string, bool) {
	if c.Query == "" {
		return "", true
	}
	return "?", true
}

// requestURI is made of the canonical path, so that nobody is misled by what
// the client wrote.
func requestURI(c *Ctx) (string, bool) {
	t, n := c.Req.Target, len(c.Path)
	if c.Query == "" {
		return c.Path, true
	}
	if len(t) == n+1+len(c.Query) && t[n] == '?' && t[:n] == c.Path && t[n+1:] == c.Query {
		return t, true
	}
	return c.Path + "?" + c.Query, true
}

func requestLine(c *Ctx, b []byte) ([]byte, bool) {
	b = append(b, c.Req.Method...)
	b = append(b, ' ')
	b = append(b, c.Req.Target...)
	b = append(b, ' ')
	p, _ := protocol(c)
	return append(b, p...), true
}

func protocol(c *Ctx) (string, bool) {
	switch {
	case c.Req.Major == 3:
		return "HTTP/3.0", true
	case c.Req.Major == 2:
		return "HTTP/2.0", true
	case c.Req.Minor == 0:
		return "HTTP/1.0", true
	}
	return "HTTP/1.1", true
}

func http2(c *Ctx) (string, bool) {
	switch {
	case c.Req.Major != 2:
		return "", true
	case c.Req.TLS == nil:
		return "h2c", true
	}
	return "h2", true
}

func http3(c *Ctx) (string, bool) {
	if c.Req.Major == 3 {
		return "h3", true
	}
	return "", true
}

func scheme(c *Ctx) (string, bool) {
	if c.Req.TLS != nil {
		return "https", true
	}
	return "http", true
}

func https(c *Ctx) (string, bool) {
	if c.Req.TLS != nil {
		return "on", true
	}
	return "", true
}

// host is the name the client asked for: lower case, without port.
func host(c *Ctx) (string, bool) {
	h := c.Req.Host
	if i := strings.LastIndexByte(h, ':'); i >= 0 && !strings.HasSuffix(h, "]") {
		h = h[:i]
	}
	h = strings.TrimSuffix(h, ".")
	if h == "" {
		return "_", true
	}
	return strings.ToLower(h), true
}

// remoteUser is the name in Basic credentials, whether they are right or not.
func remoteUser(c *Ctx, b []byte) ([]byte, bool) {
	v, ok := c.Req.Header.Lookup("Authorization")
	const scheme = "Basic "
	if !ok || len(v) <= len(scheme) || !wire.EqualFold(v[:len(scheme)], scheme) {
		return b, false
	}
	var space [512]byte
	text := append(space[:0], strings.Trim(v[len(scheme):], " ")...)
	n := len(b)
	out, err := base64.StdEncoding.AppendDecode(b, text)
	if err != nil {
		return b, false
	}
	for i := n; i < len(out); i++ {
		if out[i] == ':' {
			return out[:i], i > n
		}
	}
	return b, false
}

func contentLength(c *Ctx) (string, bool) {
	if v, ok := c.Req.Header.Lookup("Content-Length"); ok {
		return v, true
	}
	if c.Req.ContentLength > 0 {
		return itoa(c.Req.ContentLength), true
	}
	return "", false
}

// requestBody is the body if somebody had it read; it reads nothing.
func requestBody(c *Ctx) (string, bool) {
	b, ok := c.BufferedBody()
	return string(b), ok && len(b) > 0
}

func requestLength(c *Ctx, b []byte) ([]byte, bool) {
	n := c.Req.Size
	if c.Req.ContentLength > 0 {
		n += c.Req.ContentLength
	} else if body, ok := c.BufferedBody(); ok {
		n += int64(len(body))
	}
	return strconv.AppendInt(b, n, 10), true
}

// AppendSeconds writes d in seconds with three decimals.
func AppendSeconds(b []byte, d time.Duration) []byte {
	ms := max(d.Milliseconds(), 0)
	b = strconv.AppendInt(b, ms/1000, 10)
	ms %= 1000
	return append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
}

func msec(c *Ctx, b []byte) ([]byte, bool) {
	return AppendSeconds(b, time.Duration(c.now().UnixMilli())*time.Millisecond), true
}

func realPort(c *Ctx) (string, bool) {
	if p := c.Req.Remote.Port(); p != 0 {
		return strconv.Itoa(int(p)), true
	}
	return "", false
}

// binaryAddr is the address in 4 or 16 bytes.
func binaryAddr(c *Ctx, b []byte) ([]byte, bool) {
	a := c.Addr.Unmap()
	if !a.IsValid() {
		return b, false
	}
	if a.Is4() {
		raw := a.As4()
		return append(b, raw[:]...), true
	}
	raw := a.As16()
	return append(b, raw[:]...), true
}

func status(c *Ctx, b []byte) ([]byte, bool) {
	if c.Resp == nil {
		return append(b, "000"...), true
	}
	return appendStatus(b, c.Resp.Status), true
}

// appendStatus writes a status, which has three digits.
func appendStatus(b []byte, s int) []byte {
	if s < 100 || s > 999 {
		return strconv.AppendInt(b, int64(s), 10)
	}
	return append(b, byte('0'+s/100), byte('0'+s/10%10), byte('0'+s%10))
}

func requestCompletion(c *Ctx) (string, bool) {
	if c.BytesSent > 0 {
		return "OK", true
	}
	return "", true
}

func routeID(c *Ctx) (string, bool) {
	if c.Route == nil {
		return "", false
	}
	return string(c.Route.ID), true
}

func routeName(c *Ctx) (string, bool) {
	if c.Route == nil {
		return "", false
	}
	return c.Route.Name, c.Route.Name != ""
}

func serviceID(c *Ctx) (string, bool) {
	if c.Service == nil {
		return "", false
	}
	return string(c.Service.ID), true
}

func serviceName(c *Ctx) (string, bool) {
	if c.Service == nil {
		return "", false
	}
	return c.Service.Name, c.Service.Name != ""
}

func consumerName(c *Ctx) (string, bool) {
	if c.Consumer == nil || c.Consumer.Def == nil {
		return "", false
	}
	return c.Consumer.Def.Username, true
}

func consumerGroup(c *Ctx) (string, bool) {
	if c.Consumer == nil || c.Consumer.Def == nil || c.Consumer.Def.GroupID == "" {
		return "", false
	}
	return string(c.Consumer.Def.GroupID), true
}

func addForwardedFor(c *Ctx, b []byte) ([]byte, bool) {
	if v, ok := headerValue(&c.Req.Header, "x_forwarded_for", ", "); ok && v != "" {
		b = append(b, v...)
		b = append(b, ", "...)
	}
	a, _ := c.memo.client.get(c.Addr)
	return append(b, a...), true
}

// now is the time as a finished request sees it: one reading of the clock
// serves its whole log phase.
func (c *Ctx) now() time.Time {
	if c.End.IsZero() {
		return time.Now()
	}
	return c.End
}
