package balancer

import (
	"net/textproto"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// A KeySource is what a request is hashed on: one of hash_on's values, and the
// name of the header, cookie, argument or capture that it means. Headers are
// spelled as net/http does.
type KeySource struct {
	On   string
	Name string
}

// keyRule is what an upstream hashes on, and what on if that is missing.
type keyRule struct {
	first, fallback KeySource
	needed          bool // by the algorithm
}

func keyRuleOf(u *entity.Upstream) keyRule {
	source := func(on, header, arg, capture string) KeySource {
		switch on {
		case "header":
			return KeySource{on, textproto.CanonicalMIMEHeaderKey(header)}
		case "cookie":
			return KeySource{on, u.HashOnCookie}
		case "query_arg":
			return KeySource{on, arg}
		case "uri_capture":
			return KeySource{on, capture}
		}
		return KeySource{On: on}
	}
	return keyRule{
		first:    source(u.HashOn, u.HashOnHeader, u.HashOnQueryArg, u.HashOnURICapture),
		fallback: source(u.HashFallback, u.HashFallbackHeader, u.HashFallbackQueryArg, u.HashFallbackURICapture),
		needed:   u.Algorithm == "consistent-hashing",
	}
}

// Facts are what is known of a request or a connection.
type Facts interface {
	// HashValue answers the value of a source, if there is one.
	HashValue(KeySource) (string, bool)
}

// Key is the number that stands for a request in consistent hashing: the same
// for all of its tries. Requests without a value, also of the fallback, share
// one. It is 0, and no fact is asked for, if the algorithm is another one.
func (p *Pool) Key(f Facts) uint32 {
	t := p.table.Load()
	if t == nil || !t.key.needed {
		return 0
	}
	value, ok := f.HashValue(t.key.first)
	if !ok {
		value, _ = f.HashValue(t.key.fallback)
	}
	return xxHash32(value)
}
