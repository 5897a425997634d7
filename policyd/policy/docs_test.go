package policy_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/weirhq/weir/policyd/policy"
)

// The examples of the page on policy: each text block is questions to the policy before it, with their answers.
func TestExamplesOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/explanation/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```(yaml estate|yaml policy|text)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	var estate, rules string
	asked := 0
	for _, b := range blocks {
		switch b[1] {
		case "yaml estate":
			estate = b[2]
		case "yaml policy":
			rules = b[2]
		case "text":
			if first, _, _ := strings.Cut(b[2], "\n"); !verdict.MatchString(first) { // what a command prints
				continue
			}
			m := model(t, estate)
			set := resolve(t, m, rules)
			e := policy.EstateOf(m, set.Groups, nil)
			for line := range strings.Lines(b[2]) {
				question, answer := cutAnswer(strings.TrimSpace(line))
				if got := ask(t, set, e, strings.Join(strings.Fields(question), " ")).String(); got != answer {
					t.Errorf("%s: %s, the page says %s", question, got, answer)
				}
				asked++
			}
		}
	}
	if asked < 30 {
		t.Errorf("%d questions on the page, want 30", asked)
	}
}

var verdict = regexp.MustCompile(` (allowed|denied|invalid)\b`)

// cutAnswer splits a line of the page before the verdict. The state invalid is none.
func cutAnswer(line string) (question, answer string) {
	places := verdict.FindAllStringIndex(line, -1)
	at := places[0][0]
	if strings.Fields(line)[2] == "invalid" {
		at = places[1][0]
	}
	return line[:at], line[at+1:]
}
