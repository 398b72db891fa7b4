// Package chaos breaks what stands between real gateways and a real etcd, and
// proves each time that every gateway comes to exactly what the store holds,
// that no request failed meanwhile, and that nothing was lost, applied twice or
// kept in memory. It is a test: it knows the product only from outside, except
// for the digest of a configuration.
//
// The short form is part of every test run. The long form ("make chaos") has
// longer faults and holds the time that the bar allows for convergence.
package chaos
