package declarative

import "github.com/portcullis-gateway/portcullis/modules/schema"

// FlatErrors is Kong's answer for an invalid configuration when the client
// asked for `flatten_errors`: what could be told of one entity is in a list by
// entity, and only the rest in Fields.
type FlatErrors struct {
	*schema.Error

	// Fields is there even if nothing is left in it, unlike elsewhere.
	Fields schema.Object `json:"fields"`

	Flattened []FlatError `json:"flattened_errors"`
}

// FlatError is what is wrong with one entity.
type FlatError struct {
	Type string   `json:"entity_type"` // the table's name without the final s
	ID   string   `json:"entity_id,omitempty"`
	Name string   `json:"entity_name,omitempty"`
	Tags []string `json:"entity_tags,omitempty"`

	// Entity is the input without its nested entities. Nested ones have a
	// reference to their parent if that has an id.
	Entity schema.Object `json:"entity"`

	// Line is where the entity begins. Kong does not know it.
	Line int `json:"line,omitempty"`

	Errors []FieldError `json:"errors"`
}

// FieldError is one message.
type FieldError struct {
	Type    string `json:"type"` // "field" or "entity"
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	Line    int    `json:"line,omitempty"`
}

// Flatten is Body with the errors listed by entity, in the order of the
// document.
func (e *Errors) Flatten() *FlatErrors {
	flat := &FlatErrors{Flattened: []FlatError{}}
	var rest []Problem
	at := map[*entry]int{} // the position in the list, -1 if the entity is not in it
	for _, p := range e.Problems {
		i, seen := at[p.at]
		if !seen {
			i = -1
			if input, ok := p.at.input(); ok {
				i = len(flat.Flattened)
				flat.Flattened = append(flat.Flattened, describe(p.at, input))
			}
			at[p.at] = i
		}
		if i < 0 {
			rest = append(rest, p)
			continue
		}
		message := FieldError{Type: "entity", Message: p.Message, Line: p.Line}
		if p.Field != "" && p.kind != ofEntity && p.kind != ofSlot {
			message.Type, message.Field = "field", p.Field
		}
		flat.Flattened[i].Errors = append(flat.Flattened[i].Errors, message)
	}
	if e.unreadable {
		flat.Error = e.Body()
	} else {
		flat.Error = schema.Declarative(tree(rest))
	}
	if flat.Fields = flat.Error.Fields; flat.Fields == nil {
		flat.Fields = schema.Object{}
	}
	return flat
}

// describe says which entity it is. What is not well-formed is left out.
func describe(at *entry, input schema.Object) FlatError {
	f := FlatError{Type: singular(at.table.Name), Entity: input, Line: at.node.line}
	if id, _ := input["id"].(string); isUUID(id) {
		f.ID = id
	}
	f.Name, _ = input["name"].(string)
	if list, ok := input["tags"].([]any); ok {
		for _, tag := range list {
			text, ok := tag.(string)
			if !ok {
				f.Tags = nil
				break
			}
			f.Tags = append(f.Tags, text)
		}
	}
	if at.parent != nil {
		parent, _ := at.parent.node.value.(members)
		if id := parent.get("id"); id != nil && input[at.field] == nil {
			if text, _ := id.value.(string); isUUID(text) {
				input[at.field] = schema.Object{"id": text}
			}
		}
	}
	return f
}
