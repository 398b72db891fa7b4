package expr

import (
	"encoding/json"
	"strings"
	"testing"
)

type vars map[string]Value

func (v vars) resolve(name string) func(vars) Value {
	if strings.HasPrefix(name, "unknown") {
		return nil
	}
	return func(v vars) Value { return v[name] }
}

func list(s ...string) Value { return Value{List: s, Kind: List} }

func number(s string) Value { return Value{Str: s, Kind: Number} }

// evalVars are what evalTests look at.
var evalVars = vars{
	"k": Text("v"), "n": Text("11"), "hex": Text(" 0x0B "), "exp": Text("1.1e1"), "empty": Text(""),
	"word": Text("abc"), "upper": Text("Jack"), "l": list("a", "b"), "none": list(),
	"ip": Text("10.1.2.3"), "ip6": Text("2001:db8::1"), "num": number("11"), "yes": {Str: "true", Kind: Bool},
	"nan": Text("nan"), "inf": Text("-inf"), "nl": Text("abc\n"), "mapped": Text("::ffff:10.1.2.3"),
}

var evalTests = []struct {
	rule string
	want bool
}{
	{`[]`, true},
	{`[["k","==","v"]]`, true},
	{`[["k","v"]]`, true},
	{`[["k","w"]]`, false},
	{`[["upper","Jack"]]`, false}, // the short form compares with the value in lower case
	{`[["upper","==","Jack"]]`, true},
	{`[["n",11]]`, true},
	{`[["hex",11]]`, false}, // … and as a string
	{`[["k","==","v"],["n","==","11"]]`, true},
	{`[["k","==","v"],["n","==","12"]]`, false},
	{`[["k","==","v","ignored","x"]]`, true},

	{`[["n","==",11]]`, true},
	{`[["n","==","11.0"]]`, false},
	{`[["hex","==",11]]`, true},
	{`[["exp","==",11]]`, true},
	{`[["word","==",11]]`, false},
	{`[["word","~=",11]]`, true},
	{`[["n","~=",11]]`, false},
	{`[["num","==",11]]`, true},
	{`[["num","==","11"]]`, false},
	{`[["yes","==",true]]`, true},
	{`[["yes","==","true"]]`, false},
	{`[["k","==",true]]`, false},
	{`[["k","==",["v"]]]`, false},
	{`[["k","~=",["v"]]]`, true},
	{`[["l","==","a"]]`, false},
	{`[["l","~=",1]]`, true},
	{`[["nan","==",1]]`, false},
	{`[["nan","~=",1]]`, true},

	{`[["gone","==",null]]`, true},
	{`[["gone","~=",null]]`, false},
	{`[["k","==",null]]`, false},
	{`[["k","~=",null]]`, true},
	{`[["gone","~=","v"]]`, true},
	{`[["gone","==","v"]]`, false},
	{`[["unknown","==",null]]`, true},
	{`[["gone","=="]]`, true},
	{`[["k","~="]]`, true},

	{`[["n",">",10]]`, true},
	{`[["n",">","10"]]`, true},
	{`[["n",">",11]]`, false},
	{`[["n",">=",11]]`, true},
	{`[["n","<",12]]`, true},
	{`[["n","<=",11]]`, true},
	{`[["n","<=",10]]`, false},
	{`[["inf","<",0]]`, true},
	{`[["nan","<",0]]`, false},
	{`[["word",">",10]]`, false},
	{`[["word","<",10]]`, false},
	{`[["gone","<",10]]`, false},
	{`[["n",">","word"]]`, false},
	{`[["n",">",null]]`, false},
	{`[["l",">",1]]`, false},

	{`[["word","~~","^[a-c]+$"]]`, true},
	{`[["nl","~~","^[a-c]+$"]]`, true},
	{`[["word","~~","B"]]`, false},
	{`[["word","~*","B"]]`, true},
	{`[["word","~~","^(?!abd)abc(?<=c)"]]`, true},
	{`[["gone","~~",".*"]]`, false},
	{`[["gone","~*",".*"]]`, false},
	{`[["empty","~~",".*"]]`, true},
	{`[["l","~~",".*"]]`, false},
	{`[["n","~~",11]]`, true},

	{`[["k","in",["a","v"]]]`, true},
	{`[["k","in",["a"]]]`, false},
	{`[["k","in",[]]]`, false},
	{`[["n","in",[11]]]`, false},
	{`[["num","in",[11]]]`, true},
	{`[["num","in",["11"]]]`, false},
	{`[["yes","in",[true]]]`, true},
	{`[["gone","in",["a",null]]]`, false},
	{`[["k","in","v"]]`, false},
	{`[["k","IN",["1","2","3","4","5","6","7","8","9","v"]]]`, true},
	{`[["k","IN",["1","2","3","4","5","6","7","8","9","w"]]]`, false},

	{`[["l","has","a"]]`, true},
	{`[["l","HAS","c"]]`, false},
	{`[["none","has","a"]]`, false},
	{`[["k","has","v"]]`, false},
	{`[["l","has",null]]`, false},

	{`[["ip","ipmatch","10.1.2.3"]]`, true},
	{`[["ip","ipmatch","10.0.0.1/8"]]`, true},
	{`[["ip","ipmatch",["192.168.0.0/16","10.1.2.0/24"]]]`, true},
	{`[["ip","ipmatch",["192.168.0.0/16","::/0"]]]`, false},
	{`[["ip6","ipmatch",["2001:db8::/32"]]]`, true},
	{`[["ip6","ipmatch",["[2001:db8::1]"]]]`, true},
	{`[["ip6","ipmatch",["0.0.0.0/0"]]]`, false},
	{`[["mapped","ipmatch",["10.0.0.0/8"]]]`, false},
	{`[["word","ipmatch",["0.0.0.0/0"]]]`, false},
	{`[["gone","ipmatch",["0.0.0.0/0"]]]`, false},

	{`[["k","!","==","v"]]`, false},
	{`[["n","!",">",10]]`, false},
	{`[["gone","!",">",10]]`, true},
	{`[["word","!","~~","[a-z]"]]`, false},
	{`[["gone","!","~~","[a-z]"]]`, true},
	{`[["l","!","has","c"]]`, true},
	{`[["k","!","==",null]]`, true},
	{`[["word","!","ipmatch","10.0.0.0/8"]]`, true},

	{`["AND",["k","==","v"],["n",">",10]]`, true},
	{`["and",["k","==","v"],["n",">",11]]`, false},
	{`["OR",["k","==","w"],["n",">",10]]`, true},
	{`["or",["k","==","w"],["n",">",11]]`, false},
	{`["!AND",["k","==","v"],["n",">",11]]`, true},
	{`["!AND",["k","==","v"],["n",">",10]]`, false},
	{`["!OR",["k","==","w"],["n",">",11]]`, true},
	{`["!or",["k","==","w"],["n",">",10]]`, false},
	{`["OR",["AND",["k","w"],["n","11"]],["!OR",["k","x"],["n","12"]]]`, true},
	{`[["OR",["k","w"],["k","v"]],["n","11"]]`, true},
	{`[["OR",["k","w"],["k","x"]],["n","11"]]`, false},
	{`["OR",[["k","v"],["n","12"]],[["k","v"],["n","11"]]]`, true},
}

func TestEval(t *testing.T) {
	v := evalVars
	for _, test := range evalTests {
		p, err := Compile(json.RawMessage(test.rule), v.resolve)
		if err != nil {
			t.Errorf("%s: %v", test.rule, err)
			continue
		}
		if got := p.Eval(v); got != test.want {
			t.Errorf("%s = %v", test.rule, got)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	for _, test := range []struct{ rule, want string }{
		{``, "missing argument rule"},
		{`null`, "missing argument rule"},
		{`["arg_k","==","v"]`, "rule should be wrapped inside brackets"},
		{`["v"]`, "rule should be wrapped inside brackets"},
		{`[1,"==",2]`, "rule should be wrapped inside brackets"},
		{`"arg_k"`, "rule should be wrapped inside brackets"},
		{`[["arg_k"]]`, "invalid expression"},
		{`[[null,"==","x"]]`, "invalid expression"},
		{`[["x",true]]`, "invalid expression"},
		{`[["x",null,"a"]]`, "invalid expression"},
		{`[["x","==",1],"x"]`, "invalid expression"},
		{`[[]]`, "rule too short"},
		{`[{}]`, "rule too short"},
		{`["OR",["arg_weight",">",10]]`, "rule too short"},
		{`["OR",["arg_weight",">",10],["AND"]]`, "rule too short"},
		{`["AND"]`, "rule too short"},
		{`[["!","arg_k","==","1"]]`, "bad 'not' expression"},
		{`[["arg_k","~","==","1"]]`, "bad 'not' expression"},
		{`[["arg_k","=","v"]]`, "invalid operator '='"},
		{`[["arg_k","Invalid",10]]`, "invalid operator 'invalid'"},
		{`[["arg_k",123,10]]`, "invalid operator '123'"},
		{`[["arg_k","!","<!>",10]]`, "invalid operator '<!>'"},
		{`[["x","ipmatch",""]]`, "invalid ip address"},
		{`[["x","ipmatch",[]]]`, "invalid ip address"},
		{`[["x","ipmatch"]]`, "invalid ip address"},
		{`[["x","ipmatch","300.0.0.1/8"]]`, "invalid ip address: 300.0.0.1"},
		{`[["x","ipmatch",["10.0.0.1","fe80::1%eth0"]]]`, "invalid ip address: fe80::1%eth0"},
		{`[["x","ipmatch","10.0.0.0/33"]]`, "invalid ip address: 10.0.0.0/33"},
		{`[["x","~~","(a"]]`, `regex "(a": missing )`},
		{`[["x","~~",["a"]]]`, "invalid expression"},
		{`[] []`, "expression is not JSON: text after its end"},
		{strings.Repeat("[", 200) + `"x",1` + strings.Repeat("]", 200), "expression is nested deeper than 100"},
	} {
		_, err := Compile(json.RawMessage(test.rule), vars{}.resolve)
		if err == nil || err.Error() != test.want {
			t.Errorf("%.80s: error %q, want %q", test.rule, err, test.want)
		}
	}
}

func TestToNumber(t *testing.T) {
	for _, test := range []struct {
		text string
		want float64
		ok   bool
	}{
		{"0", 0, true}, {"-7", -7, true}, {"+7", 7, true}, {" 7\t\n", 7, true}, {"007", 7, true},
		{"1.5", 1.5, true}, {".5", 0.5, true}, {"5.", 5, true}, {"1e3", 1000, true}, {"1E-1", 0.1, true},
		{"0x10", 16, true}, {"-0XfF", -255, true}, {"0x.8", 0.5, true}, {"0x1p4", 16, true}, {"0x1P-1", 0.5, true},
		{"0b101", 5, true}, {"-0B1", -1, true}, {"9007199254740993", 9007199254740992, true},
		{"", 0, false}, {" ", 0, false}, {"-", 0, false}, {".", 0, false}, {"e3", 0, false}, {"1e", 0, false},
		{"1 2", 0, false}, {"- 1", 0, false}, {"1_000", 0, false}, {"0x", 0, false}, {"0x1p", 0, false}, {"0b2", 0, false},
		{"1.2.3", 0, false}, {"abc", 0, false}, {"--1", 0, false}, {"infx", 0, false}, {"0x1.8.1", 0, false}, {"1\x00", 0, false},
	} {
		if got, ok := toNumber(test.text); got != test.want || ok != test.ok {
			t.Errorf("toNumber(%q) = %v, %v", test.text, got, ok)
		}
	}
}

func TestEvalDoesNotAllocate(t *testing.T) {
	v := vars{"k": Text("v"), "n": Text("x11"), "ip": Text("10.1.2.3"), "l": list("a")}
	p, err := Compile(json.RawMessage(`["AND",["k","~~","^v$"],["n","!",">",5],["ip","ipmatch","10.0.0.0/8"],["l","has","a"],["k","in",["u","v"]]]`), v.resolve)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if !p.Eval(v) {
			t.Fatal("does not hold")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{`[["k","==","v"]]`, `["!or",["k",1],["n","!","in",[1,"a",true,null]]]`, `[["k","~~","^(?<a>x)++\\1[^\\d-z]$"]]`, `[["k","ipmatch",["::/0"]]]`} {
		f.Add(s, "v")
	}
	f.Fuzz(func(t *testing.T, rule, value string) {
		v := vars{"k": Text(value)}
		if p, err := Compile(json.RawMessage(rule), v.resolve); err == nil {
			p.Eval(v)
		}
	})
}

func BenchmarkEval(b *testing.B) {
	v := vars{"host": Text("a.example.com"), "n": Text("11")}
	for _, rule := range []string{`[["host","==","a.example.com"]]`, `[["n",">",10]]`, `[["host","~~","^a\\."]]`, `["OR",["n","==",12],["host","in",["b","a.example.com"]]]`} {
		b.Run(rule, func(b *testing.B) {
			p, err := Compile(json.RawMessage(rule), v.resolve)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				p.Eval(v)
			}
		})
	}
}
