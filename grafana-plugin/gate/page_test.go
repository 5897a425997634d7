package gate_test

import (
	"fmt"
	"strings"
	"testing"
)

// filterField is the line for a filter in the query editor.
const filterField = `input[role="combobox"][placeholder^="everything"]`

// question is where the type of a query is chosen, the first field of the editor.
const question = "main input[role=combobox]"

func openEditor(t *testing.T) *tab {
	t.Helper()
	url := newBridge(t, seededStore(t).source(t))
	return newBrowser(t).open(fmt.Sprintf("%s/?from=%d&to=%d", url, base.UnixMilli(), until.UnixMilli()), filterField)
}

// answered waits until the page shows an answer, and returns its first line.
func (p *tab) answered() string {
	p.t.Helper()
	p.until(`document.querySelector('[data-testid=answer]') !== null`)
	if text := p.text("[data-testid=error]"); text != "" {
		p.t.Errorf("the answer is an error: %s\nquery %s", text, p.text("[data-testid=query]"))
	}
	return p.text("[data-testid=answer]")
}

// has waits until the text of some element that selector finds holds a word.
func (p *tab) has(selector, word string) {
	p.t.Helper()
	p.until(fmt.Sprintf("[...document.querySelectorAll(%q)].some((e) => e.innerText.includes(%q))", selector, word))
}

// choose clicks on the element with that text, of those that selector finds.
func (p *tab) choose(selector, text string) {
	p.t.Helper()
	p.has(selector, text)
	mark := fmt.Sprintf("document.querySelectorAll('[data-chosen]').forEach((e) => e.removeAttribute('data-chosen')); [...document.querySelectorAll(%q)].find((e) => e.innerText.trim().startsWith(%q) || e.innerText.includes(%q)).setAttribute('data-chosen', '')", selector, text, text)
	if _, err := p.evaluate(mark); err != nil {
		p.t.Fatalf("choose %q: %v", text, err)
	}
	p.click("[data-chosen]")
}

// quiet fails the test if a page threw, or logged an error.
func (p *tab) quiet() {
	p.t.Helper()
	for _, text := range p.complaints() {
		p.t.Errorf("the page complains: %s", text)
	}
}

// A filter is completed with fields, operators and names that exist, a mistake in it is shown at its place, and what is asked is drawn.
func TestQueryEditor(t *testing.T) {
	p := openEditor(t)
	p.click(filterField)
	p.typeText("src_")
	p.has("[role=option]", "src_vm")
	p.has("[role=option]", "src_addr")
	p.shot("completion-fields")
	p.clear()
	p.typeText("vm = web")
	p.has("[role=option]", "web-01")
	p.shot("completion-values")
	p.press("Escape", 27)
	p.clear()

	p.typeText("vmm = web-01 and protocol = tcp")
	p.press("Escape", 27)
	p.until(`document.querySelector('[data-testid=mistake]')?.innerText === 'vmm'`)
	p.has("[role=alert]", "vm")
	p.shot("mistake")
	p.clear()

	p.typeText("vm = web-01 and protocol = tcp")
	p.press("Escape", 27)
	p.press("Enter", 13)
	if got := p.answered(); !strings.Contains(got, " 1 series, ") || strings.Contains(got, " 0 points") {
		t.Errorf("answer is %q, want one series with points", got)
	}
	p.until(`document.querySelector('[data-testid=mistake]') === null`)
	p.shot("series")
	p.until(drawn)

	p.choose("label", "Table")
	p.has("[data-testid=answer]", "1 rows")
	p.choose("button", "SQL that is run")
	p.has("main pre", "SELECT")
	p.shot("table")
	p.quiet()
}

// drawn is whether something is drawn in every canvas: lines are, an empty chart is transparent but for its grid.
const drawn = `(() => {
	const all = [...document.querySelectorAll('[data-testid=uplot-main-div] canvas')];
	return all.length > 0 && all.every((c) => {
		const pixels = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
		const colours = new Set();
		for (let i = 0; i < pixels.length; i += 4) {
			if (pixels[i + 3] > 128 && Math.max(pixels[i], pixels[i + 1], pixels[i + 2]) - Math.min(pixels[i], pixels[i + 1], pixels[i + 2]) > 60) colours.add(pixels[i] << 16 | pixels[i + 1] << 8 | pixels[i + 2]);
		}
		return colours.size > 0;
	});
})()`

// Each type of question has its editor, and an answer as soon as it is chosen.
func TestEveryTypeOfQuery(t *testing.T) {
	p := openEditor(t)
	for _, kind := range []string{"Flow records", "Events", "Exporters", "Hits of rules", "Inventory", "Statistics", "Flows"} {
		p.click(question)
		p.choose("[role=option]", kind)
		p.until(fmt.Sprintf("document.querySelector('%s').value === %q", question, kind))
		if got := p.answered(); strings.HasSuffix(got, " 0 rows") {
			t.Errorf("%s: answer is %q, want rows; query %s", kind, got, p.text("[data-testid=query]"))
		}
		p.shot("type-" + strings.ToLower(strings.ReplaceAll(kind, " ", "-")))
	}
	p.click(question)
	p.choose("[role=option]", "SQL")
	p.until(`document.querySelector('[data-testid=query]').innerText.includes('"queryType":"sql"')`)
	p.has("main", "Macros and tables")
	p.shot("type-sql")
	p.quiet()
}

// Settings are saved and tested; what is wrong is told with what to do.
func TestSettings(t *testing.T) {
	s := seededStore(t).source(t)
	url := newBridge(t, s)
	p := newBrowser(t).open(url+"/?show=settings", "[data-testid=test]")
	p.click("[data-testid=test]")
	p.has("[data-testid=health]", "ClickHouse")
	p.has("[data-testid=health]", "4 of 4 exporters")
	p.shot("settings")
	p.click(`main fieldset input[placeholder="default"]`)
	p.clear()
	p.typeText("no_such_database")
	p.click("[data-testid=test]")
	p.has("[data-testid=health]", "no_such_database")
	p.has("[data-testid=health]", "check the database in the data source's settings")
	p.shot("settings-error")
	p.quiet()
}
