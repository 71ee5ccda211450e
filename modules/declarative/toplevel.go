package declarative

// document reads the top level.
func (r *resolver) document(d *Document) {
	version := d.root.get("_format_version")
	if version == nil {
		r.errs.document(max(d.line, min(len(d.root), 1)), "_format_version", "required field missing")
	}
	for i := range d.root {
		m := &d.root[i]
		switch m.key {
		case "_format_version":
			r.version(m.node)
		case "_transform":
			// There is nothing to transform yet: no table hashes what it stores.
			if _, ok := m.value.(bool); !ok && m.value != nil {
				r.errs.document(m.line, m.key, "expected a boolean")
			}
		case "_comment", "_ignore":
			if message := annotation(m); message != "" {
				r.errs.document(m.line, m.key, message)
			}
		case "workspaces":
			r.workspaces(m.node)
		default:
			if t := r.catalog.Table(m.key); t != nil {
				r.list(t, m, nil, "")
			} else {
				r.errs.document(m.line, m.key, "unknown field")
			}
		}
	}
}

// version checks the format version and notes what it asks for.
func (r *resolver) version(n node) {
	switch v := n.value.(type) {
	case nil:
		r.errs.document(n.line, "_format_version", "required field missing")
	case string:
		switch v {
		case "1.1", "2.1":
			r.migrate = true
		case "3.0":
		default:
			r.errs.document(n.line, "_format_version", "expected one of: 1.1, 2.1, 3.0")
		}
	default:
		r.errs.document(n.line, "_format_version", "expected a string")
	}
}

// workspaces accepts the list that a Kong export may have. There is one
// workspace, so it must be the default one and has nothing to say.
func (r *resolver) workspaces(n node) {
	list, ok := n.value.([]node)
	if !ok && n.value != nil {
		r.errs.document(n.line, "workspaces", "expected an array")
	}
	for _, e := range list {
		m, _ := e.value.(members)
		if name := m.get("name"); name == nil || name.value != "default" {
			r.errs.document(e.line, "workspaces", "there is only the workspace 'default'")
		}
	}
}

// annotation checks what may stand beside the fields of anything.
func annotation(m *member) string {
	_, text := m.value.(string)
	_, list := m.value.([]node)
	switch {
	case m.value == nil, m.key == "_comment" && text, m.key == "_ignore" && list:
		return ""
	case m.key == "_comment":
		return "expected a string"
	default:
		return "expected an array"
	}
}
