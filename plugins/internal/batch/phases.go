package batch

import "sluice/plugins"

// Logger makes the entries of a plugin: a *logentry.Log, or what adds to one.
type Logger interface {
	Access() func(*plugins.Ctx) (*plugins.Reply, error) // nil: not there
	BodyFilter() plugins.BodyFunc                       // nil: not there
	Entry(*plugins.Ctx) []byte                          // of a request that has ended
}

// Phases are those of a plugin that pushes an entry of each request to the queue
// that Open returns for conf. release (nil: none) gives back what send needs:
// when the queue has ended, or at once when there is none.
func Phases(env *plugins.Env, o *Config, conf any, l Logger, send Send, release func()) (plugins.Phases, error) {
	if release == nil {
		release = func() {}
	}
	queue, closeQueue, err := Open(env, o, conf, send)
	if err != nil {
		release()
		return plugins.Phases{}, err
	}
	return plugins.Phases{
		Access: l.Access(), BodyFilter: l.BodyFilter(),
		Log:   func(c *plugins.Ctx) { queue.Push(c, l.Entry(c)) },
		Close: func() { closeQueue(); release() },
	}, nil
}
