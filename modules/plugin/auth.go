package plugin

import (
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// A Credential is what a client showed. It does not change.
type Credential struct {
	ID         uuid.UUID // nil UUID: it is no entity
	ConsumerID uuid.UUID
	Identifier string // for the header X-Credential-Identifier: never the secret
}

// Challenge is what the header WWW-Authenticate says in Kong's words: the scheme
// and, unless it is empty, the realm.
func Challenge(scheme, realm string) string {
	if realm == "" {
		return scheme
	}
	return scheme + ` realm="` + realm + `"`
}

// Authenticate runs what all plugins that authenticate have in common
// (kong/plugins/*-auth/access.lua). Without anonymous the client must pass try,
// whatever other plugins have found. With it one success is enough: try is not
// run for a client that another plugin has authenticated, and one that does not
// pass becomes the consumer of that id or username. An error that is no answer
// ends the request in any case.
func (x *Exchange) Authenticate(anonymous string, try func() error) error {
	if anonymous != "" && x.Credential != nil {
		return nil
	}
	err := try()
	if err == nil || anonymous == "" {
		return err
	}
	if _, answered := errors.AsType[*Answer](err); !answered {
		return err
	}
	c, ok := x.consumerNamed(anonymous)
	if !ok {
		x.Logger.Error(fmt.Sprintf("anonymous consumer %s is configured but doesn't exist", anonymous))
		return Refuse(500, fmt.Sprintf("anonymous consumer %s is configured but doesn't exist", anonymous))
	}
	x.SetConsumer(c, nil)
	return nil
}

func (x *Exchange) consumerNamed(name string) (*entity.Consumer, bool) {
	if id, err := uuid.Parse(name); err == nil {
		if c, ok := Get[entity.Consumer](x.Directory, "consumers", id); ok {
			return c, true
		}
	}
	return Find[entity.Consumer](x.Directory, "consumers", "username", name)
}

// SetConsumer says who asks, and tells the service in headers. Without a
// credential the consumer is the anonymous one. The consumer may be nil if the
// credential stands for itself.
func (x *Exchange) SetConsumer(c *entity.Consumer, cred *Credential) {
	x.Consumer, x.Credential = c, cred
	var id, custom, username, identifier, anonymous string
	if c != nil {
		id, custom, username = c.IDText(), c.CustomID, c.Username
	}
	if cred != nil {
		identifier = cred.Identifier
	} else {
		anonymous = "true"
	}
	x.setUpstream("X-Consumer-Id", id)
	x.setUpstream("X-Consumer-Custom-Id", custom)
	x.setUpstream("X-Consumer-Username", username)
	x.setUpstream("X-Credential-Identifier", identifier)
	x.setUpstream("X-Anonymous-Consumer", anonymous)
}
