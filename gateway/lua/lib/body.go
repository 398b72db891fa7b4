package lib

import (
	"fmt"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/value"
)

// DecodeBody makes a table of a body ("json", "xml", "encoded", "multipart") or
// of a query ("args"); other formats, and a body that is nil, have an empty one.
// parts is set for "multipart" only.
func DecodeBody(l *lua.LState, format string, body []byte, contentType, query string) (t *lua.LTable, parts *Multipart, err error) {
	if format == "args" {
		t, _ = DecodeArgs(l, query, MaxArgs)
		return t, nil, nil
	}
	if body == nil {
		return value.Table(), nil, nil
	}
	switch format {
	case "json":
		v, err := value.Decode(body)
		if err != nil {
			return nil, nil, err
		}
		t, ok := v.(*lua.LTable)
		if !ok {
			return nil, nil, fmt.Errorf("table expected, got %s", v.Type())
		}
		return t, nil, nil
	case "xml":
		t, err = DecodeXML(body)
		return t, nil, err
	case "encoded":
		t, _ = DecodeArgs(l, string(body), MaxArgs)
		return t, nil, nil
	case "multipart":
		parts = DecodeMultipart(string(body), contentType)
		return parts.All(), parts, nil
	}
	return value.Table(), nil, nil
}
