package admin

import (
	"io"
	"net/http"
	"time"
)

// A patientWriter gives the client its time anew for each part of an answer,
// so that long answers may take long but nobody can hold one up for ever.
type patientWriter struct {
	http.ResponseWriter
	deadline *http.ResponseController
	timeout  time.Duration
	status   int // 0: the head of the answer has not been written
}

func (w *patientWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.extend()
	return w.ResponseWriter.Write(b)
}

func (w *patientWriter) WriteHeader(status int) {
	w.status = status
	w.extend()
	w.ResponseWriter.WriteHeader(status)
}

func (w *patientWriter) extend() {
	if w.timeout > 0 {
		_ = w.deadline.SetWriteDeadline(time.Now().Add(w.timeout))
	}
}

// Unwrap is for http.ResponseController.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// patienceStep is how much of a large body has to arrive before the client
// gets its time anew, in bytes.
const patienceStep = 1 << 20

// A patientReader lets a large body take as long as it needs, if it keeps
// coming.
type patientReader struct {
	io.Reader
	deadline *http.ResponseController
	timeout  time.Duration
	n        int // bytes since the deadline was set
}

func (r *patientReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if r.n += n; r.n >= patienceStep && r.timeout > 0 {
		r.n = 0
		_ = r.deadline.SetReadDeadline(time.Now().Add(r.timeout))
	}
	return n, err
}

// takeTime lifts the time limit for reading once there is nothing to read any
// more. It would end the request's context while the handler works.
func (c *call) takeTime() {
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{})
}

// Interface guards
var (
	_ http.ResponseWriter = (*patientWriter)(nil)
	_ io.Reader           = (*patientReader)(nil)
)
