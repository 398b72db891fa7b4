package lib

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"
)

func run(t *testing.T, l *lua.LState, code string) string {
	t.Helper()
	if err := l.DoString("return " + code); err != nil {
		t.Fatal(err)
	}
	v := l.Get(-1).String()
	l.SetTop(0)
	return v
}

func TestDict(t *testing.T) {
	now := time.Unix(0, 0)
	ds := NewDicts(map[string]int{"d": 4 * (overhead + 10)}, func() time.Time { return now })
	if ds.Get("other") != nil {
		t.Error("a dictionary without a size is there")
	}
	l := lua.NewState()
	defer l.Close()
	ud := l.NewUserData()
	ud.Value = ds.Get("d")
	mt := l.NewTable()
	mt.RawSetString("__index", Table(l, DictMethods))
	ud.Metatable = mt
	l.SetGlobal("d", ud)
	for _, x := range []struct{ code, want string }{
		{`d:set("a", "1", 10)`, "true"}, {`d:get("a")`, "1"}, {`d:add("a", 2)`, "false"}, {`d:replace("b", 2)`, "false"},
		{`d:incr("n", 1)`, "nil"}, {`d:incr("n", 1, 5)`, "6"}, {`d:incr("n", 1)`, "7"}, {`d:incr("a", 1)`, "nil"},
		{`d:set("e", 1, 1e300)`, "true"}, {`d:get("e")`, "1"}, {`d:delete("e")`, "nil"}, {`d:ttl("a")`, "10"}, {`d:ttl("n")`, "0"}, {`d:rpush("q", "x")`, "1"}, {`d:lpush("q", "y")`, "2"}, {`d:llen("q")`, "2"},
		{`d:rpush("q", {})`, "nil"}, {`d:lpush("q", print)`, "nil"}, {`d:llen("q")`, "2"}, {`d:rpop("q")`, "x"}, {`d:get("q")`, "nil"}, {`d:lpop("q")`, "y"}, {`d:llen("q")`, "0"},
	} {
		if got := run(t, l, "(select(1, "+x.code+"))"); got != x.want {
			t.Errorf("%s: %s, want %s", x.code, got, x.want)
		}
	}
	now = now.Add(10 * time.Second)
	if got := run(t, l, `d:get("a")`); got != "nil" {
		t.Errorf("an expired value is %s", got)
	}
	for range 3 {
		for _, key := range []string{"k1", "k2", "k3", "k4", "k5"} {
			run(t, l, `d:set("`+key+`", 1)`)
		}
	}
	if got := run(t, l, `d:get("k1")`); got != "nil" {
		t.Error("nothing was dropped")
	}
	if got := run(t, l, `(select(2, d:safe_set("k6", 1)))`); got != "no memory" {
		t.Errorf("safe_set: %s", got)
	}
	d := ds.Get("d")
	if d.size > d.limit || len(d.m) != d.order.Len() {
		t.Errorf("%d of %d bytes, %d keys, %d entries", d.size, d.limit, len(d.m), d.order.Len())
	}
}

func TestHTTP(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Got", r.Method+" "+r.RequestURI+" "+r.Header.Get("X-A"))
		w.WriteHeader(201)
		_, _ = w.Write([]byte("hello"))
	}))
	defer s.Close()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	h := &HTTP{Transport: tr, Limit: 100, Timeout: time.Minute,
		Block: func(_ *lua.LState, f func(context.Context)) { f(context.Background()) }}
	l := lua.NewState()
	defer l.Close()
	l.SetGlobal("http", h.Module(l))
	l.SetGlobal("url", lua.LString(s.URL))
	got := run(t, l, `(function()
		local res, err = http.new():request_uri(url .. "/p", {method = "POST", body = "b", query = {a = 1}, headers = {["X-A"] = "v"}})
		if not res then return err end
		return res.status .. res.body .. res.headers["x-got"]
	end)()`)
	if got != "201helloPOST /p?a=1 v" {
		t.Error(got)
	}
	s.Close()
	if got := run(t, l, `(select(2, http.new():request_uri(url)))`); got != "connection refused" {
		t.Error(got)
	}
}

func TestURI(t *testing.T) {
	for plain, escaped := range map[string]string{"a b": "a%20b", "é/": "%C3%A9%2F", "-._~!*'()": "-._~!*'()", "": ""} {
		if got := EscapeURI(plain); got != escaped {
			t.Errorf("%q: %q", plain, got)
		}
		if got := UnescapeURI(escaped); got != plain {
			t.Errorf("%q: %q", escaped, got)
		}
	}
	if got := UnescapeURI("%zz%4+%"); got != "%zz%4 %" {
		t.Errorf("got %q", got)
	}
}

func TestFieldNames(t *testing.T) {
	for in, want := range map[string]string{"X-A_1~": "X-A_1~", "Transfer-Encoding ": "Transfer-Encoding%20", "a:b\r\n": "a%3Ab%0D%0A",
		"\xff\x00": "%FF%00", "": ""} {
		if got := CleanName(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
