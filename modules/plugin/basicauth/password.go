package basicauth

import (
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// What a new password costs to check: the second choice of OWASP's password
// storage cheat sheet, which is small in memory.
const (
	hashMemory  = 19 * 1024 // KiB
	hashTime    = 2
	hashThreads = 1
	saltSize    = 16
	keySize     = 32
)

// What a password that comes hashed may cost at most, so that a row cannot
// take the gateway down.
const (
	maxMemory  = 256 * 1024 // KiB
	maxTime    = 16
	maxThreads = 16
	maxCost    = 14 // of bcrypt: about a second
)

// A hash is a password as it is kept:
//
//	$argon2id$v=19$m=19456,t=2,p=1$<salt>$<key>    RFC 9106, in the PHC string format
//	$2b$10$<salt and key>                          bcrypt, also as $2a$ and $2y$
//	$kong-sha1$argon2id$v=19$…                     argon2id of what Kong keeps, see sums
type hash struct {
	sums    bool   // the password may also be one whose sum was hashed
	bcrypt  []byte // the whole text; nil: argon2id
	memory  uint32 // KiB
	time    uint32
	threads uint8
	salt    []byte
	key     []byte
}

// sumsPrefix marks the hash of a text that may be a password or what Kong keeps
// of one: the SHA-1 sum of password and consumer id in hexadecimal
// (kong/plugins/basic-auth/crypto.lua). Dumps of Kong have those.
const sumsPrefix = "$kong-sha1"

var (
	argonForm  = regexp.MustCompile(`^\$argon2id\$v=19\$m=(\d{1,9}),t=(\d{1,9}),p=(\d{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$`)
	bcryptForm = regexp.MustCompile(`^\$2[aby]\$\d\d\$[A-Za-z0-9./]{53}$`)
	sumForm    = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// hashed reports whether a text claims to be a hash and not a password.
func hashed(text string) bool {
	for _, prefix := range []string{"$argon2id$", sumsPrefix + "$argon2id$", "$2a$", "$2b$", "$2y$"} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

// checkPassword answers what is wrong with a password or hash, or "". It does
// not repeat any of it.
func checkPassword(text string) string {
	if !hashed(text) {
		return ""
	}
	if _, err := parse(text); err != nil {
		return err.Error()
	}
	return ""
}

// parse reads a hash.
func parse(text string) (*hash, error) {
	if bcryptForm.MatchString(text) {
		if cost, _ := strconv.Atoi(text[4:6]); cost < bcrypt.MinCost || cost > maxCost {
			return nil, fmt.Errorf("the cost of a bcrypt hash must be between %d and %d", bcrypt.MinCost, maxCost)
		}
		return &hash{bcrypt: []byte(text)}, nil
	}
	rest, sums := strings.CutPrefix(text, sumsPrefix)
	m := argonForm.FindStringSubmatch(rest)
	if m == nil {
		return nil, fmt.Errorf("begins as a hash does, but is none: expected $argon2id$v=19$m=<KiB>,t=<passes>,p=<lanes>$<salt>$<key> or $2b$<cost>$<salt and key>")
	}
	memory, _ := strconv.Atoi(m[1])
	time, _ := strconv.Atoi(m[2])
	threads, _ := strconv.Atoi(m[3])
	if memory < 8*threads || memory > maxMemory || time < 1 || time > maxTime || threads < 1 || threads > maxThreads {
		return nil, fmt.Errorf("the costs of an argon2id hash must be m=8p…%d, t=1…%d and p=1…%d", maxMemory, maxTime, maxThreads)
	}
	h := &hash{sums: sums, memory: uint32(memory), time: uint32(time), threads: uint8(threads)}
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.DecodeString(m[4])
	h.key, err2 = base64.RawStdEncoding.DecodeString(m[5])
	if err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.key) < 16 || len(h.key) > 64 {
		return nil, fmt.Errorf("an argon2id hash must have a salt of 8 to 64 bytes and a key of 16 to 64 bytes, both in base64 without padding")
	}
	return h, nil
}

// seal answers the hash that is kept of a password. A hash stands for itself,
// and a password that was was made of is kept as it was.
func seal(text, was string) string {
	if hashed(text) {
		return text
	}
	sums := sumForm.MatchString(text)
	if h, err := parse(was); err == nil && h.sums == sums && h.compare(text) {
		return was
	}
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails
	key := argon2.IDKey([]byte(text), salt, hashTime, hashMemory, hashThreads, keySize)
	prefix := ""
	if sums {
		prefix = sumsPrefix
	}
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("%s$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", prefix, hashMemory, hashTime, hashThreads, encode(salt), encode(key))
}

// matches reports whether the consumer's password is the one that was hashed.
// It takes its time.
func (h *hash) matches(password, consumer string) bool {
	if h.sums {
		sum := sha1.Sum([]byte(password + consumer))
		if h.compare(hex.EncodeToString(sum[:])) {
			return true
		}
	}
	return h.compare(password)
}

func (h *hash) compare(text string) bool {
	if h.bcrypt != nil {
		return bcrypt.CompareHashAndPassword(h.bcrypt, []byte(text)) == nil
	}
	key := argon2.IDKey([]byte(text), h.salt, h.time, h.memory, h.threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(key, h.key) == 1
}
