package admin

import "net/http"

// NewStatus is the status API: /status says that the process runs,
// /status/ready that it serves a configuration. ready returns why it does not
// yet, or nil.
func NewStatus(ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { writePage(w, http.StatusNotFound) })
	mux.HandleFunc("/status", func(w http.ResponseWriter, r *http.Request) { status(w, r, nil) })
	mux.HandleFunc("/status/ready", func(w http.ResponseWriter, r *http.Request) { status(w, r, ready()) })
	return mux
}

func status(w http.ResponseWriter, r *http.Request, err error) {
	a := answer{http.StatusOK, `{"status":"ok"}`}
	if err != nil {
		text, _ := encode(object{"status": "error", "error": err.Error()}) // strings always become JSON
		a = answer{http.StatusServiceUnavailable, string(text)}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Server", serverName(false))
	a.write(w, r)
}
