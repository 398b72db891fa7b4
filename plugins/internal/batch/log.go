package batch

import "sluice/plugins"

// Log is the log phase of a plugin that pushes an entry of each request to the
// queue that Open returns for conf, and its end. release (nil: none) gives back
// what send needs: when the queue has ended, or at once when there is none.
func Log(env *plugins.Env, o *Config, conf any, entry func(*plugins.Ctx) []byte, send Send, release func()) (
	log func(*plugins.Ctx), stop func(), err error) {
	if release == nil {
		release = func() {}
	}
	queue, closeQueue, err := Open(env, o, conf, send)
	if err != nil {
		release()
		return nil, nil, err
	}
	return func(c *plugins.Ctx) { queue.Push(c, entry(c)) }, func() { closeQueue(); release() }, nil
}
