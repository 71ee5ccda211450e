package admin

import "slices"

// certificateVerbs are those of a certificate, which may be named by one of
// its server names. A PUT by name sees to it that the certificate serves that
// name, and both PUT and PATCH take a single name for a list
// (kong/api/routes/certificates.lua).
func certificateVerbs(k item) verbs {
	v := k.verbs()
	v["PUT"] = func(c *call) (*answer, error) {
		if _, is := parseID(k.segment(c)); !is {
			c.body["snis"] = withName(c.body["snis"], k.segment(c))
		}
		return k.put(listNames(c))
	}
	v["PATCH"] = func(c *call) (*answer, error) { return k.patch(listNames(c)) }
	return v
}

func listNames(c *call) *call {
	if name, single := c.body["snis"].(string); single && name != "" {
		c.body["snis"] = []any{name}
	}
	return c
}

// withName adds a name to what a client sent as snis.
func withName(snis any, name string) any {
	switch snis := snis.(type) {
	case nil:
		return []any{name}
	case string:
		return withName([]any{snis}, name)
	case []any:
		if !slices.Contains(snis, any(name)) {
			return append(snis, name)
		}
	}
	return snis // whatever it is, the table has a word for it
}
