package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// hashPrefix marks a token that is given as its SHA-256 sum.
const hashPrefix = "sha256:"

// tokenSet holds the sums of the tokens that are accepted. The tokens
// themselves are not kept.
type tokenSet [][sha256.Size]byte

// add reads one token of the configuration; see Access.Token. Errors never
// quote it.
func (s *tokenSet) add(text string, repl *caddy.Replacer) error {
	var err error
	switch {
	case strings.HasPrefix(text, hashPrefix):
	case strings.HasPrefix(text, "file:"):
		content, err := os.ReadFile(strings.TrimPrefix(text, "file:"))
		if err != nil {
			return err
		}
		text = strings.TrimRight(string(content), "\r\n")
	case strings.HasPrefix(text, "{") && strings.HasSuffix(text, "}"):
		placeholder := text
		if text, err = repl.ReplaceOrErr(placeholder, true, true); err != nil {
			return err
		}
		text = strings.TrimRight(text, "\r\n")
	default:
		return errors.New("a token in clear text is not accepted; expected sha256:<hexadecimal sum>, file:<path> or a placeholder such as {env.ADMIN_TOKEN}")
	}
	sum, isHash := strings.CutPrefix(text, hashPrefix)
	if !isHash {
		if text == "" {
			return errors.New("the token is empty")
		}
		*s = append(*s, sha256.Sum256([]byte(text)))
		return nil
	}
	raw, err := hex.DecodeString(sum)
	if err != nil || len(raw) != sha256.Size {
		return fmt.Errorf("expected %d hexadecimal digits behind %s", 2*sha256.Size, hashPrefix)
	}
	*s = append(*s, [sha256.Size]byte(raw))
	return nil
}

// accepts compares a token with all in the set, in a time that tells nothing
// about them.
func (s tokenSet) accepts(token string) bool {
	sum := sha256.Sum256([]byte(token))
	match := 0
	for i := range s {
		match |= subtle.ConstantTimeCompare(sum[:], s[i][:])
	}
	return match == 1
}

// tokenOf answers the token that a request carries, or "".
func tokenOf(r *http.Request) string {
	if token := r.Header.Get("Kong-Admin-Token"); token != "" {
		return token
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return ""
}
