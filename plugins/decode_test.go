package plugins

import (
	"encoding/json"
	"reflect"
	"testing"
)

// TestDecodeNames: a member counts under its own name only.
func TestDecodeNames(t *testing.T) {
	type inner struct {
		Secret string `json:"secret"`
	}
	type conf struct {
		inner
		List []string       `json:"list"`
		More []inner        `json:"more"`
		Free map[string]any `json:"free"`
	}
	var c conf
	err := Decode([]byte(`{"secret":"a","SECRET":"b","list":["x"],"List":["y"],"more":[{"secret":"c","Secret":"d"}],"free":{"A":1,"a":2.50}}`), &c)
	want := conf{inner{"a"}, []string{"x"}, []inner{{"c"}}, map[string]any{"A": json.Number("1"), "a": json.Number("2.50")}}
	if err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, %v", c, err)
	}
	m, err := MetaOf([]byte(`{"_META":{"disable":true,"fail_mode":"open"},"_meta":{"Disable":true}}`))
	if err != nil || m.Disable || m.FailMode != "" {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestDecodeKinds: all else is as encoding/json has it.
func TestDecodeKinds(t *testing.T) {
	type conf struct {
		Any  any             `json:"any"`
		Code json.Number     `json:"code"`
		Raw  json.RawMessage `json:"raw"`
		Mode FailMode        `json:"mode"`
		None *int            `json:"none"`
	}
	var c conf
	err := Decode([]byte(`{"any":[1,null,true,"s",{"b":[3]}],"code":7,"raw":{"x": 1},"mode":"open","none":null}`), &c)
	want := conf{Any: []any{json.Number("1"), nil, true, "s", map[string]any{"b": []any{json.Number("3")}}}, Code: "7",
		Raw: json.RawMessage(`{"x": 1}`), Mode: FailOpen}
	if err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, %v", c, err)
	}
	for text, want := range map[string]string{
		`{"mode":"ajar"}`: `configuration: fail_mode "ajar": it is either "open" or "closed"`,
		`{"none":"1"}`:    "configuration: json: cannot unmarshal string into Go struct field conf.none of type int",
	} {
		if err := Decode([]byte(text), &c); err == nil || err.Error() != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := Decode(nil, &c); err != nil {
		t.Error(err)
	}
}
