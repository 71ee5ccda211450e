package declarative

import (
	"bufio"
	"fmt"
	"io"
	"strconv"

	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// Format is a way to write a document.
type Format string

const (
	YAML Format = "yaml"
	JSON Format = "json"
)

// Export writes all rows as a declarative configuration: flat, every field of
// every row, references by id, tables in dependency order and rows by id. The
// same content is always the same text. It writes as it goes, and nothing but
// one row is held in memory.
func Export(w io.Writer, im *store.Image, format Format) error {
	out := bufio.NewWriterSize(w, 1<<16)
	var write interface {
		begin(key string)
		entity(m members)
		end()
		close()
	}
	switch format {
	case YAML:
		write = &yamlWriter{w: out}
	case JSON:
		write = &jsonWriter{w: out}
	default:
		return fmt.Errorf("unknown format %q: expected yaml or json", format)
	}
	var failed error
	for _, t := range im.Catalog().Tables() {
		empty := true
		im.Ascend(t.Name, store.ID{}, func(r *store.Row) bool {
			m, err := exported(t, r)
			if err != nil {
				failed = fmt.Errorf("%s %s: %w", singular(t.Name), r.ID, err)
				return false
			}
			if empty {
				write.begin(t.Name)
				empty = false
			}
			write.entity(m)
			_, err = out.Write(nil) // tells whether an earlier write failed
			return err == nil
		})
		if failed != nil {
			return failed
		}
		if !empty {
			write.end()
		}
	}
	write.close()
	return out.Flush()
}

// exported is a row with its fields in the order of the table, and the ids of
// its parents in place of references.
func exported(t *schema.Table, r *store.Row) (members, error) {
	o, err := t.Unpack(r.Data)
	if err != nil {
		return nil, err
	}
	for _, ref := range t.References() {
		if o[ref.Field] != nil {
			o[ref.Field] = schema.KeyText(o[ref.Field])
		}
	}
	n, err := parseJSON(string(t.Export(o)), func(int, string, ...any) {})
	if err != nil {
		return nil, err
	}
	all := n.value.(members)
	kept := all[:0]
	for _, m := range all {
		if !t.Field(m.key).Transient {
			kept = append(kept, m)
		}
	}
	return kept, nil
}

// jsonWriter writes an object with a list for each table, an entity a line.
type jsonWriter struct {
	w    *bufio.Writer
	rows int // of this list
	any  bool
}

func (j *jsonWriter) begin(key string) {
	if !j.any {
		j.w.WriteString("{\n\"_format_version\":\"3.0\",\n\"_transform\":false")
		j.any = true
	}
	j.rows = 0
	if key != "" {
		j.w.WriteString(",\n" + strconv.Quote(key) + ":[")
	}
}

func (j *jsonWriter) entity(m members) {
	if j.rows > 0 {
		j.w.WriteByte(',')
	}
	j.rows++
	j.w.WriteByte('\n')
	j.value(m)
}

func (j *jsonWriter) end() { j.w.WriteString("\n]") }

func (j *jsonWriter) close() {
	if !j.any {
		j.begin("")
	}
	j.w.WriteString("\n}\n")
}

func (j *jsonWriter) value(v any) {
	switch v := v.(type) {
	case members:
		for i := range v {
			j.w.WriteByte("{,"[min(i, 1)])
			j.w.WriteString(quote(v[i].key))
			j.w.WriteByte(':')
			j.value(v[i].value)
		}
		if len(v) == 0 {
			j.w.WriteByte('{')
		}
		j.w.WriteByte('}')
	case []node:
		for i := range v {
			j.w.WriteByte("[,"[min(i, 1)])
			j.value(v[i].value)
		}
		if len(v) == 0 {
			j.w.WriteByte('[')
		}
		j.w.WriteByte(']')
	case string:
		j.w.WriteString(quote(v))
	default:
		j.w.WriteString(word(v))
	}
}

// word writes null, a boolean or a number, which JSON and YAML spell alike.
func word(v any) string {
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return "null"
}
