package plugin

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// An Answer ends a request in the phases rewrite and access. It is an error, so
// that these can return it.
type Answer struct {
	Status int

	// Message, unless Raw is set, becomes Kong's error: in the type of content
	// that the client accepts, with the request's id. If it is empty the text
	// is the one that goes with the status.
	Message string

	// Raw says that Body is the answer, as it is.
	Raw  bool
	Body []byte

	// Header has further headers. Keys are in canonical form.
	Header http.Header
}

func (a *Answer) Error() string { return "answered by the plugin" }

// Refuse answers with an error in Kong's shape: JSON, HTML, XML or text, as the
// client accepts, with the message and the request's id
// (kong.response.error). The headers are names and values in turns.
func Refuse(status int, message string, headers ...string) error {
	return &Answer{Status: status, Message: message, Header: pairs(headers)}
}

// Exit answers with a body of its own (kong.response.exit): none if body is nil,
// []byte and string as they are, and anything else as compact JSON with its
// Content-Type. The headers are names and values in turns.
func Exit(status int, body any, headers ...string) error {
	a := &Answer{Status: status, Raw: true, Header: pairs(headers)}
	switch body := body.(type) {
	case nil:
	case []byte:
		a.Body = body
	case string:
		a.Body = []byte(body)
	default:
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(body); err != nil {
			return err
		}
		a.Body = bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
		if a.Header == nil {
			a.Header = http.Header{}
		}
		if a.Header["Content-Type"] == nil {
			a.Header["Content-Type"] = []string{"application/json; charset=utf-8"}
		}
	}
	return a
}

// Message is the body {"message": text} for Exit.
func Message(text string) any {
	return struct {
		Message string `json:"message"`
	}{text}
}

func pairs(list []string) http.Header {
	if len(list) == 0 {
		return nil
	}
	h := make(http.Header, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		h.Add(list[i], list[i+1])
	}
	return h
}
