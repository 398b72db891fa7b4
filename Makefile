# Sluice: "make" alone lists the targets.

# Go needs a home for its caches; a bare CI job may have none.
ifeq ($(strip $(HOME)),)
export HOME := $(CURDIR)/.home
endif
# The checkout may belong to another user, which git refuses to look into.
export GOFLAGS := -buildvcs=false $(filter-out -buildvcs=%,$(GOFLAGS))

VERSION  := $(shell git -c safe.directory='*' describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME ?= 2s
CONFIG   ?= conf/config.yaml

.DEFAULT_GOAL := help
.PHONY: help build run test lint bench bench-relay bench-adapter bench-config chaos nightly fuzz generate clean

help:      ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

build:     ## build bin/sluice
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/sluice ./cmd/sluice

run: build ## build and start a gateway (CONFIG=conf/config.yaml)
	bin/sluice run -c $(CONFIG)

test:      ## install what is missing, run every check (FUZZTIME=2s for each fuzz target)
	go run ./t/suite -fuzztime $(FUZZTIME)

lint:      ## gofmt, go vet, staticcheck, house rules
	go run ./t/suite -only gofmt,vet,staticcheck
	go test -count=1 -run TestHouse ./t

bench: build ## compare with nginx and haproxy, write the README's table (BENCH="-rounds 5 -rows plain,plugins")
	go run ./t/bench $(BENCH)

bench-config: build ## measure a large configuration, write configcenter/README.md's table (BENCH="-routes 20000 -changes 10s")
	go run ./t/bench -rows scale $(BENCH)

chaos: build ## break what is between gateways and etcd: the long form (about 10 minutes)
	SLUICE_CHAOS=long SLUICE_BINARY=$(CURDIR)/bin/sluice go test -count=1 -timeout 40m -v ./t/chaos

bench-relay: build ## compare the etcd relay with etcd's grpc-proxy, write its README's table (BENCH="-watchers 1000")
	go run ./t/relaybench $(BENCH)

KINE := github.com/k3s-io/kine@v0.17.5

bench-adapter: build ## compare the etcd adapter with etcd and kine, write the table of configcenter/adapter/README.md
	GOBIN=$(CURDIR)/bin CGO_ENABLED=0 go install $(KINE)
	go test -count=1 -timeout 10m -v -run TestThroughput ./t -binary $(CURDIR)/bin/sluice -kine $(CURDIR)/bin/kine -throughput $(CURDIR)/configcenter/adapter/README.md

OPERATIONS ?= 100000

nightly:   ## the long forms of tests: OPERATIONS compared with etcd on each store, 50 kills, every scenario on each store, clients that misbehave
	go test -count=1 -timeout 8h -run 'LikeEtcd|Linear' ./configcenter/adapter -operations $(OPERATIONS)
	go test -count=1 -timeout 1h -run TestKill ./cmd/sluice -kills 50
	go test -count=1 -timeout 1h -run TestStores ./t -every
	go test -count=50 -race -timeout 1h -run TestChaos ./gateway/wire

fuzz:      ## run every fuzz target for FUZZTIME
	go run ./t/suite -only fuzz -fuzztime $(FUZZTIME)

generate:  ## write generated files anew
	go generate ./...

clean:     ## remove what was built; data and logs stay
	rm -rf bin .home
