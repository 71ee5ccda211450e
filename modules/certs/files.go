package certs

import (
	"crypto/tls"
	"fmt"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// Files reads a pair from PEM files: one certificate with its key, or one for
// each of two kinds of key.
func Files(certificates, keys []string) (*Pair, error) {
	var cs []*tls.Certificate
	for i, name := range certificates {
		c, err := tls.LoadX509KeyPair(name, keys[i])
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", name, keys[i], err)
		}
		cs = append(cs, &c)
	}
	if len(cs) == 2 && entity.KeyType(cs[0].Leaf.PublicKey) == entity.KeyType(cs[1].Leaf.PublicKey) {
		return nil, fmt.Errorf("expected keys of two kinds, both are %s", entity.KeyType(cs[0].Leaf.PublicKey))
	}
	return newPair(cs...), nil
}
