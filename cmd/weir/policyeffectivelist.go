package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/policy"
)

// showSettings shows the settings of the VIFs of what of names: estate, or pool:, network:, vm: or vif: and a name.
func showSettings(ctx context.Context, out *cli.Output, c *client.API, of string, unguarded, all bool) error {
	list := []policyd.EffectiveVIF{}
	v := url.Values{"of": {of}}
	if unguarded {
		v.Set("unguarded", "true")
	}
	err := eachPage(ctx, c, "/api/v1/policy/effective/settings", v, func(page *struct {
		VIFs []policyd.EffectiveVIF `json:"vifs"`
		Next string                 `json:"next"`
	},
	) string {
		list = append(list, page.VIFs...)
		return page.Next
	})
	switch {
	case err != nil:
		return err
	case out.JSON:
		return cli.WriteJSON(out, list)
	case len(list) == 0 && unguarded:
		_, err := fmt.Fprintf(out.W, "%s has no VIF at which a guard that is on is not enforced in full\n", cli.Clean(of))
		return err
	case len(list) == 0:
		_, err := fmt.Fprintf(out.W, "%s has no VIF\n", cli.Clean(of))
		return err
	}
	return writeSettingsOf(out, list, all)
}

// overridden says what levels above say of a setting, and that it does not count: on outputs that show colours it is struck through, else a word says so.
func overridden(out *cli.Output, s *policy.EffectiveSetting, word string) cli.Cell {
	if len(s.Overridden) == 0 {
		return cli.Cell{}
	}
	var list []string
	for _, o := range s.Overridden {
		list = append(list, fmt.Sprintf("%s (%s)", o.Value, o.Level))
	}
	text := strings.Join(list, ", ")
	if !out.Color {
		text = word + text
	}
	return cli.Cell{Text: text, Style: cli.Struck}
}

// settingsTable lists the settings of a VIF, with what levels above say.
func settingsTable(out *cli.Output, list []policy.EffectiveSetting) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{{Name: "SETTING"}, {Name: "VALUE"}, {Name: "SAID BY"}, {Name: "OVERRIDDEN"}}}
	for i := range list {
		s := &list[i]
		t.Add(cell(s.Key), cell(s.Value), cell(s.Level), overridden(out, s, ""))
	}
	return t
}

// writeSettings lists the settings of a VIF, and below what is to be known of them.
func writeSettings(out *cli.Output, list []policy.EffectiveSetting) error {
	if err := settingsTable(out, list).Write(out); err != nil {
		return err
	}
	for _, s := range list {
		for _, n := range s.Notes {
			fmt.Fprintln(out.W, out.Paint(cli.Clean(s.Key+": "+n), cli.Warn))
		}
	}
	return nil
}

// manyVIFs is how many VIFs have a line each; of more, those that say the same share one.
const manyVIFs = 20

// settingRow is a line of VIFs for which the same is said of the settings that differ.
type settingRow struct {
	vifs     []string
	settings []*policy.EffectiveSetting
}

// writeSettingsOf shows the settings of several VIFs: those that are the same at all, those that differ, and what is to be known of them.
func writeSettingsOf(out *cli.Output, list []policyd.EffectiveVIF, all bool) error {
	fmt.Fprintf(out.W, "%s, where they are plugged policy is: %s\n", cli.Counted(len(list), "VIF"), statesOf(list))
	var quarantined []string
	for i := range list {
		if list[i].Quarantined != "" {
			quarantined = append(quarantined, list[i].VIF)
		}
	}
	if len(quarantined) > 0 {
		fmt.Fprintln(out.W, out.Paint("QUARANTINED"+nameSome(quarantined), cli.Bad))
	}
	var same []policy.EffectiveSetting
	var differ []int
	for i := range list[0].Settings {
		if slices.ContainsFunc(list, func(v policyd.EffectiveVIF) bool { return saysOf(&v.Settings[i]) != saysOf(&list[0].Settings[i]) }) {
			differ = append(differ, i)
		} else {
			same = append(same, list[0].Settings[i])
		}
	}
	if len(same) > 0 {
		fmt.Fprint(out.W, "\nthe same at all:\n")
		if err := settingsTable(out, same).Write(out); err != nil {
			return err
		}
	}
	if len(differ) > 0 {
		fmt.Fprintln(out.W)
		if err := differingTable(out, list, differ, all || len(list) <= manyVIFs).Write(out); err != nil {
			return err
		}
	}
	return writeNotesOf(out, list)
}

// saysOf is all that is said of a setting of a VIF, besides notes.
func saysOf(s *policy.EffectiveSetting) string {
	return fmt.Sprintf("%q %q %q", s.Value, s.Level, s.Overridden)
}

// statesOf says how policy stands where VIFs are plugged.
func statesOf(list []policyd.EffectiveVIF) string {
	const nowhere = "nowhere"
	n := map[string]int{}
	for i := range list {
		state := nowhere
		for _, h := range list[i].Hosts {
			if state = string(h.State); h.Bypassed != "" {
				state = "BYPASSED"
			}
		}
		n[state]++
	}
	words := slices.SortedFunc(maps.Keys(n), func(a, b string) int { return cmp.Or(cmp.Compare(n[b], n[a]), strings.Compare(a, b)) })
	for i, w := range words {
		if words[i] = fmt.Sprintf("%s at %d", w, n[w]); w == nowhere {
			words[i] = fmt.Sprintf("unknown at %d, which are plugged nowhere", n[w])
		}
	}
	return strings.Join(words, ", ")
}

// differingTable lists the settings that differ: a line for each VIF, or, unless each, one for all of which the same is said, that of the most VIFs first.
// What is overridden stands below.
func differingTable(out *cli.Output, list []policyd.EffectiveVIF, differ []int, each bool) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{{Name: "VIF"}}}
	for _, i := range differ {
		t.Columns = append(t.Columns, cli.Column{Name: strings.ToUpper(list[0].Settings[i].Key)})
	}
	var rows []*settingRow
	byText := map[string]*settingRow{}
	for k := range list {
		row := &settingRow{vifs: []string{list[k].VIF}}
		var text strings.Builder
		for _, i := range differ {
			row.settings = append(row.settings, &list[k].Settings[i])
			text.WriteString(saysOf(&list[k].Settings[i]) + "\n")
		}
		if of := byText[text.String()]; of != nil && !each {
			of.vifs = append(of.vifs, list[k].VIF)
			continue
		}
		byText[text.String()] = row
		rows = append(rows, row)
	}
	if !each {
		slices.SortStableFunc(rows, func(a, b *settingRow) int { return cmp.Compare(len(b.vifs), len(a.vifs)) })
	}
	for _, row := range rows {
		const some = 3
		name := strings.Join(row.vifs[:min(some, len(row.vifs))], ", ")
		if more := len(row.vifs) - some; more > 0 {
			name += fmt.Sprintf(" and %d more", more)
		}
		says, below := []cli.Cell{cell(name)}, []cli.Cell{{}}
		under := false
		for _, s := range row.settings {
			says = append(says, cell(fmt.Sprintf("%s (%s)", s.Value, s.Level)))
			below = append(below, overridden(out, s, "overridden: "))
			under = under || len(s.Overridden) > 0
		}
		if t.Add(says...); under {
			t.Add(below...)
		}
	}
	return t
}

// maxSettingNotes is how many different notes on settings of several VIFs are told.
const maxSettingNotes = 20

// writeNotesOf tells what is to be known of settings of several VIFs, each note once, with the VIFs.
func writeNotesOf(out *cli.Output, list []policyd.EffectiveVIF) error {
	vifs := map[string][]string{}
	var notes []string
	for i := range list {
		for _, s := range list[i].Settings {
			for _, n := range s.Notes {
				text := s.Key + ": " + n
				if vifs[text] == nil {
					notes = append(notes, text)
				}
				vifs[text] = append(vifs[text], list[i].VIF)
			}
		}
	}
	if len(notes) > 0 {
		fmt.Fprintln(out.W)
	}
	for i, text := range notes {
		if i == maxSettingNotes {
			_, err := fmt.Fprintf(out.W, "… and %s: --json has all\n", cli.Counted(len(notes)-i, "more note"))
			return err
		}
		writeWrapped(out, "", "  ", fmt.Sprintf("%s: %s%s", text, cli.Counted(len(vifs[text]), "VIF"), nameSome(vifs[text])), cli.Warn)
	}
	return nil
}
