// Command etcd is etcd with its grpc-proxy, of the version that the relay is
// built with: what the relay is compared with. It is a module of its own,
// because nothing else needs its dependencies.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
