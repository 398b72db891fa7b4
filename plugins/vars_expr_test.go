package plugins

import (
	"encoding/json"
	"reflect"
	"testing"

	"sluice/router/expr"
)

func TestExprValue(t *testing.T) {
	c := request("POST", "/?flag&a=1&q=%20", `{"n":1.50,"s":"x","b":true,"l":["a",1,"b"],"o":{"k":1},"z":null}`, "Content-Type", "application/json")
	c.SetVar("set", "v")
	for name, want := range map[string]expr.Value{
		"arg_flag": {Kind: expr.Bool, Str: "true"}, "arg_a": expr.Text("1"), "arg_q": expr.Text(" "), "arg_none": {},
		"post_arg.n": {Kind: expr.Number, Str: "1.5"}, "post_arg.s": expr.Text("x"), "post_arg.b": {Kind: expr.Bool, Str: "true"},
		"post_arg.l": {Kind: expr.List, List: []string{"a", "b"}}, "post_arg.l[*]": {Kind: expr.List, List: []string{"a", "b"}},
		"post_arg.o": {Kind: expr.List}, "post_arg.z": {}, "post_arg.[": {}, "set": expr.Text("v"), "uri": expr.Text("/"), "nothing": {},
		"graphql_root_fields": {},
	} {
		if got := ExprValue(name)(c); !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %+v, want %+v", name, got, want)
		}
	}
	c = request("POST", "/", "{ owner { name } repo { id } }")
	for text, want := range map[string]bool{
		`[["graphql_operation","==","query"],["graphql_root_fields","has","owner"]]`: true,
		`[["graphql_root_fields","has","name"]]`:                                     false,
		`[["graphql_name","==",""]]`:                                                 true,
		`[["arg_x","==",null]]`:                                                      true,
	} {
		p, err := expr.Compile(json.RawMessage(text), ExprValue)
		if err != nil {
			t.Fatal(err)
		}
		if p.Eval(c) != want {
			t.Errorf("%s is %v", text, !want)
		}
	}
}
