package http1

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// appendHead decides how the body is framed, and appends the head.
func (w *response) appendHead(out []byte, p []byte, last bool) []byte {
	c, h := w.conn, w.conn.header
	r := w.exchange.request
	if w.keep && (anyToken(h["Connection"], "close") || c.server.stopping.Load()) {
		w.keep = false
	}
	if w.told() {
		w.keep = false // nobody knows whether the body will come
	}
	body := w.held + len(p)
	allowed := bodyAllowed(w.status)
	out = appendStatusLine(out, w.status, r.ProtoMinor)
	_, dated := h["Date"]
	if w.head != nil {
		for i := range w.head.Fields {
			f := &w.head.Fields[i]
			if responseFraming(f.Name) || f.Name == "Connection" {
				continue
			}
			dated = dated || f.Name == "Date"
			out = appendClean(out, f.Name, f.Value)
		}
	} else if _, set := h["Content-Type"]; !set && allowed && body > 0 && h["Content-Encoding"] == nil {
		sniff := p
		if w.held > 0 {
			sniff = (*w.buf)[:w.held]
		}
		out = appendField(out, "Content-Type", http.DetectContentType(sniff))
	}
	if !dated {
		out = append(out, *c.server.clock.date.Load()...)
	}
	if w.head != nil || h["Trailer"] != nil {
		out = appendHeader(out, h, w.own)
	} else {
		out = appendHeader(out, h, responseFraming)
	}
	switch {
	case w.length >= 0 && (allowed || w.status == http.StatusNotModified):
		out = appendLength(out, w.length)
	case !allowed || w.length >= 0:
	case last && (!w.bare || w.written > 0) && !w.trailers():
		// All of it is here; of an answer to HEAD it was counted.
		out = appendLength(out, w.written)
	case w.bare:
	case r.ProtoMinor == 0:
		w.keep = false // the end of the connection is that of the body
	default:
		w.chunked = true
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	}
	switch {
	case w.status == http.StatusSwitchingProtocols: // this is not HTTP/1 any more
	case !w.keep && !anyToken(h["Connection"], "close"):
		out = append(out, "Connection: close\r\n"...)
	case w.keep && r.ProtoMinor == 0:
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	return append(out, "\r\n"...)
}

// own reports whether a field of Header is not to be sent in the head: framing is the
// server's business, trailers come later, and others are in the list.
func (w *response) own(name string) bool {
	return responseFraming(name) || w.announced(name) || w.head != nil && w.head.Has(name)
}

// responseFraming is the same for a header that announces no trailers.
func responseFraming(name string) bool {
	switch name {
	case "Content-Length", "Transfer-Encoding":
		return true
	}
	return strings.HasPrefix(name, http.TrailerPrefix)
}

// announced reports whether the handler has declared a field to be a trailer.
func (w *response) announced(name string) bool {
	list := w.conn.header["Trailer"]
	return list != nil && anyToken(list, name)
}

// trailers reports whether fields will follow the body.
func (w *response) trailers() bool {
	if w.conn.header["Trailer"] != nil {
		return true
	}
	for name := range w.conn.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return true
		}
	}
	return false
}

// lastChunk is the end of a chunked body, with the trailers.
func (w *response) lastChunk(within bool) []byte {
	var out []byte
	if within {
		out = append(out, "\r\n"...)
	}
	out = append(out, "0\r\n"...)
	for name, values := range w.conn.header {
		plain, prefixed := strings.CutPrefix(name, http.TrailerPrefix)
		if (prefixed || w.announced(name)) && httpguts.ValidTrailerHeader(plain) {
			out = appendValues(out, plain, values)
		}
	}
	return append(out, "\r\n"...)
}
