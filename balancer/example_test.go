package balancer_test

import (
	"context"
	"fmt"

	"sluice/balancer"
	"sluice/configcenter/resource"
)

func Example() {
	registry := balancer.NewRegistry(balancer.Options{Start: func() uint64 { return 0 }})
	defer registry.Close()
	set, err := registry.Open(balancer.Config{
		Key:  "/apisix/upstreams/1",
		Port: 80,
		Nodes: resource.Nodes{
			{Host: "10.0.0.1", Weight: 2},
			{Host: "10.0.0.2", Weight: 1},
			{Host: "10.0.0.3", Weight: 1, Priority: -1},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer set.Close()
	if err := set.Ready(context.Background()); err != nil {
		fmt.Println(err) // 503
		return
	}
	var tried []*balancer.Endpoint
	for range 4 {
		e := set.Pick(0, tried)
		if e == nil {
			fmt.Println("all tried") // 502
			break
		}
		e.Begin()
		fmt.Println("try", e.Addr)
		e.Done(balancer.Outcome{Fault: balancer.Broken})
		tried = append(tried, e)
	}
	// Output:
	// try 10.0.0.1:80
	// try 10.0.0.2:80
	// try 10.0.0.3:80
	// all tried
}
