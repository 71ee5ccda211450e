package declarative

import (
	"errors"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// ImportEvent is one line of the answer to POST /config/import on the Admin
// API, which is NDJSON: any number of events with a Stage, then one with a
// Summary or an Error.
type ImportEvent struct {
	// Stage names the work that the numbers are about: StageParsed (bytes),
	// StageChecked or StageWritten (entities).
	Stage string `json:"stage,omitempty"`
	Done  int    `json:"done,omitempty"`
	Total int    `json:"total,omitempty"`

	// Summary tells what was changed, or would have been.
	Summary *Summary `json:"summary,omitempty"`

	// DryRun tells that nothing was written.
	DryRun bool `json:"dry_run,omitempty"`

	// Replaced tells that the document took the place of the whole
	// configuration, since the node has no database.
	Replaced bool `json:"replaced,omitempty"`

	// Error is why nothing was changed.
	Error *ImportError `json:"error,omitempty"`
}

// The stages of an import, in their order.
const (
	StageParsed  = "parsed"
	StageChecked = "checked"
	StageWritten = "written"
)

// ImportError is Kong's error for an invalid configuration, and its problems
// once more in the order of the lines. Other errors have only a message.
type ImportError struct {
	schema.Error
	Flattened []FlatError `json:"flattened_errors,omitempty"`
	Problems  []Problem   `json:"problems,omitempty"`
}

// NewImportError gives an error the form that goes over the wire. Of an error
// that is neither *Errors nor *schema.Error it tells the text.
func NewImportError(err error) *ImportError {
	var problems *Errors
	var refused *schema.Error
	switch {
	case errors.As(err, &problems):
		flat := problems.Flatten()
		return &ImportError{*flat.Error, flat.Flattened, problems.Problems}
	case errors.As(err, &refused):
		return &ImportError{Error: *refused}
	}
	return &ImportError{Error: schema.Error{Message: err.Error()}}
}
