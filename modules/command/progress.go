package command

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/portcullis-gateway/portcullis/modules/declarative"
)

// stageSent is the part of an import that this side sees to.
const stageSent = "sent"

// stages are the words for the parts of an import.
var stages = map[string]string{
	stageSent:                "sending",
	declarative.StageParsed:  "reading",
	declarative.StageChecked: "checking",
	declarative.StageWritten: "writing",
}

// progress is a bar on a terminal, and nothing elsewhere. A bar of its own
// follows for each stage. It may be used by several goroutines, since an answer
// can begin before all of the request is sent.
type progress struct {
	w io.Writer // nil: there is no terminal

	mu    sync.Mutex
	stage string                   // protected by mu, as is bar
	bar   *progressbar.ProgressBar // nil: nothing is shown
}

func newProgress(w io.Writer) *progress {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &progress{w: w}
	}
	return &progress{}
}

// show tells how much of a stage is done.
func (p *progress) show(stage string, done, total int) {
	if p.w == nil || stages[stage] == "" || total <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if stage != p.stage {
		p.clear()
		p.stage = stage
		p.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(p.w),
			progressbar.OptionSetDescription(stages[stage]),
			progressbar.OptionShowBytes(stage == stageSent || stage == declarative.StageParsed),
			progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(30),
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionThrottle(50*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
	}
	_ = p.bar.Set(min(done, total))
}

// end takes the bar away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}
