package declarative

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// migratePaths brings a route's paths from a document older than version 3.0
// to the form of 3.0 (kong/db/migrations/migrate_path_280_300.lua). Until then
// a path was a regular expression if it looked like one, and was decoded before
// it was matched; now "~" says what is one. The list is changed in place.
func migratePaths(paths any) {
	list, _ := paths.([]any)
	for i, p := range list {
		if path, ok := p.(string); ok {
			list[i] = migratePath(path)
		}
	}
}

var (
	literalPath = regexp.MustCompile(`^[a-zA-Z0-9.\-_~/%]*$`)
	triplet     = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
)

func migratePath(path string) string {
	if literalPath.MatchString(path) {
		return entity.NormalizePath(path)
	}
	return "~" + triplet.ReplaceAllStringFunc(path, func(code string) string {
		char, _ := strconv.ParseUint(code[1:], 16, 8)
		c := string([]byte{byte(char)})
		switch {
		case strings.Contains("!#$%&'()*+,/:;=?@[]", c): // reserved: stays encoded
			return strings.ToUpper(code)
		case strings.Contains(`.^-{}\|`, c): // has a meaning in regular expressions
			return `\` + c
		default:
			return c
		}
	})
}
