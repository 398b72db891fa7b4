package gateway_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"sluice/configcenter/resource"
	"sluice/plugins"
)

// TestLuaIsGivenBack makes and removes routes with Lua everywhere, and wants
// nothing of it to be left.
func TestLuaIsGivenBack(t *testing.T) {
	seen := &plugins.Spec{Name: "seen", Schema: `{"type":"object"}`, New: plugins.Build(
		func(*struct{}, *plugins.Env) (plugins.Phases, error) {
			return plugins.Phases{Access: func(c *plugins.Ctx) (*plugins.Reply, error) {
				return plugins.Exit(200, c.Var("from_lua")), nil
			}}, nil
		})}
	b := start(t, plugins.Registry{"seen": seen})
	for i := range 50 {
		b.put(resource.Routes, "1", fmt.Sprintf(`{"id":"1","uri":"/s","script":"return {access = function(ctx) ngx.say('script %d') end}"}`, i))
		b.put(resource.Routes, "2", fmt.Sprintf(`{"id":"2","uri":"/p","filter_func":"function(vars) return vars.arg_i == '%d' end",
			"plugins":{"seen":{"_meta":{"pre_function":"return function(conf, ctx) ctx.var.from_lua = %d end"}}}}`, i, i))
		if status, body, _ := b.get("/s"); status != 200 || body != fmt.Sprintf("script %d\n", i) {
			t.Fatalf("script: %d %s", status, body)
		}
		if status, body, _ := b.get(fmt.Sprintf("/p?i=%d", i)); status != 200 || body != fmt.Sprint(i) {
			t.Fatalf("pre_function: %d %s", status, body)
		}
		if status, _, _ := b.get("/p?i=x"); status != 404 {
			t.Fatalf("filter_func: %d", status)
		}
	}
	b.put(resource.Routes, "2", `{"id":"2","uri":"/p","filter_func":"function("}`)
	if n := len(b.g.Problems()); n != 1 {
		t.Errorf("%d problems", n)
	}
	if status, _, _ := b.get("/p?i=49"); status != 200 {
		t.Errorf("the last good form is gone: %d", status)
	}
	for _, id := range []string{"1", "2"} {
		if err := b.center.Delete(context.Background(), resource.Routes, id); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for b.lua.Len() > 0 && ctx.Err() == nil {
		runtime.Gosched()
	}
	if n := b.lua.Len(); n != 0 {
		t.Errorf("%d sources are still in use", n)
	}
}
