package plugin

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"reflect"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/http1"
)

// A page is a ResponseWriter that keeps the head.
type page struct {
	header http.Header // what was sent
	next   http.Header
	Host
}

func (p *page) Heading(int)               {}
func (p *page) Header() http.Header       { return p.next }
func (p *page) Write([]byte) (int, error) { return 0, nil }
func (p *page) WriteHeader(int)           { p.header = maps.Clone(p.next) }

// A list is a page that takes heads as lists.
type list struct{ page }

func (l *list) WriteHead(_ int, head *http1.Head) {
	l.header = maps.Clone(l.next)
	for name, values := range head.Fields.Header() {
		l.header[name] = values
	}
}

type filter func(*Exchange)

func (f filter) HeaderFilter(x *Exchange) error {
	f(x)
	return nil
}

// TestResponseHeader_listsAreLikeAMap makes the same changes to heads in the ways in
// which they come and go, and to a map.
func TestResponseHeader_listsAreLikeAMap(t *testing.T) {
	names := []string{"X-A", "x-a", "Set-Cookie", "Content-Length", "Via", "Early"}
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 2))
		upstream := http.Header{"X-A": {"1", "2"}, "Set-Cookie": {"a=b", "c=d"}, "Content-Type": {"text/plain"}, "Via": {"1.1 a"}}
		early := http.Header{"Early": {"1"}, "Via": {"early"}}
		want := maps.Clone(early)
		maps.Copy(want, upstream)
		change := filter(func(x *Exchange) {
			for step := range 6 {
				name := names[random.IntN(len(names))]
				key, value := http.CanonicalHeaderKey(name), fmt.Sprint("v", step)
				switch random.IntN(9) {
				case 0, 1, 2:
					x.SetResponseHeader(name, value)
					want[key] = []string{value}
				case 3, 4:
					x.SetResponseHeader(name, "")
					delete(want, key)
				case 5:
					x.SetResponseFields(http1.Field{Name: key, Value: value}, http1.Field{Name: "More", Value: value})
					want[key], want["More"] = []string{value}, []string{value}
				case 6:
					if got := x.ResponseHeader(); !reflect.DeepEqual(got, want) {
						t.Errorf("seed %d, step %d: %v, want %v", seed, step, got, want)
					}
				case 7:
					x.AddResponseHeader(name, value)
					want[key] = append(want[key][:len(want[key]):len(want[key])], value)
				case 8:
					x.ResponseHeader()[key] = []string{"a", "b"}
					want[key] = []string{"a", "b"}
				}
			}
		})
		in := &Instance{Plugin: new(entity.Plugin), module: &module{phases: phases{header: change}}}
		to := &list{page{next: maps.Clone(early)}}
		out := http.ResponseWriter(to)
		if seed%3 == 0 {
			out = &to.page
		}
		x := Begin(to, nil)
		c := &Chain{steps: []step{{fixed: in}}, wraps: true}
		w := c.Wrap(x, out)
		c.Skip(x)
		if seed%2 == 0 {
			http1.WriteHead(w, 200, &http1.Head{Fields: http1.Fields(nil).AppendHeader(upstream)})
		} else {
			maps.Copy(w.Header(), upstream)
			w.WriteHeader(200)
		}
		if !reflect.DeepEqual(to.header, want) {
			t.Fatalf("seed %d: sent %v, want %v", seed, to.header, want)
		}
		if got, sum := x.HeadSize(), http1.Fields(nil).AppendHeader(want).Size(); got != sum {
			t.Fatalf("seed %d: the size is %d, want %d", seed, got, sum)
		}
		x.End()
	}
}

// TestSetResponseHeader_breaksNoLines: values are what a header can have, whoever
// made them.
func TestSetResponseHeader_breaksNoLines(t *testing.T) {
	to := &list{page{next: http.Header{}}}
	x := Begin(to, nil)
	x.writer.to, x.writer.head = to, new(http1.Head)
	x.SetResponseHeader("X-A", "b\r\nX-Evil: 1")
	x.SetResponseHeader("X B", "c")
	if got, want := x.writer.head.Fields, (http1.Fields{{Name: "X-A", Value: "b  X-Evil: 1"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
