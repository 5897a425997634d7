package main

import (
	"fmt"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/explain"
)

// startPolicyd is a policyd with an estate of two VMs and no host. It returns its data directory.
func startPolicyd(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("runs weir policyd")
	}
	data := t.TempDir()
	write(t, data, "estate.yaml", []byte(`hosts: [{name: hv1}]
vms:
  - {name: web, host: hv1, vifs: [{device: "0", mac: "02:00:00:00:00:01", ips: [10.1.0.1]}]}
  - {name: db, host: hv1, vifs: [{device: "0", mac: "02:00:00:00:00:02", ips: [10.1.0.2]}]}
`))
	write(t, data, "weir.yaml", []byte("estate: {file: estate.yaml}\n"))
	apptest.Start(t, data, anyPorts...)
	return data
}

// editor makes commands use a shell script as the editor; $1 is the file.
func editor(t *testing.T, script string) {
	t.Helper()
	name := write(t, t.TempDir(), "editor", []byte("#!/bin/sh\n"+script+"\n"))
	if err := os.Chmod(name, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("VISUAL", "")
	t.Setenv("EDITOR", name)
}

// stable replaces what differs from run to run, and with who runs the test: who asks over the socket is root in what is wanted.
func stable(text string) string {
	me := "root"
	if u, err := user.Current(); err == nil {
		me = u.Username
	}
	for _, x := range [][2]string{
		{`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`, "DATE TIME"},
		{`\bin (9m\d+s|\d+s)`, "in SOON"},
		{`9m\d+s to confirm`, "SOON to confirm"},
		{`\b` + regexp.QuoteMeta(me) + `\b`, "root"},
		{`   +`, "  "}, // columns are as wide as what is in them
		{` +\n`, "\n"},
	} {
		text = regexp.MustCompile(x[0]).ReplaceAllString(text, x[1])
	}
	return text
}

// policyCLI runs commands on a policyd.
type policyCLI struct {
	*testing.T
	data string
}

func (p *policyCLI) run(args ...string) result {
	p.Helper()
	return weir(p, append(args, "--data", p.data)...)
}

// is wants a command line to end with a code and to print exactly something, besides dates; on standard error a part of what it says.
func (p *policyCLI) is(code int, stdout, stderr string, args ...string) {
	p.Helper()
	r := p.run(args...)
	if diff := cmp.Diff(stable(stdout), stable(r.stdout)); r.code != code || diff != "" || !strings.Contains(stable(r.err), stable(stderr)) || stderr == "" && r.err != "" {
		p.Errorf("weir %s: code %d, want %d; standard error %q, want %q; -want +got:\n%s", strings.Join(args, " "), r.code, code, stable(r.err), stderr, diff)
	}
}

// soon waits until a command line prints something.
func (p *policyCLI) soon(want string, args ...string) {
	p.Helper()
	deadline := time.Now().Add(time.Minute)
	for r := p.run(args...); !strings.Contains(r.stdout, want); r = p.run(args...) {
		if time.Now().After(deadline) {
			p.Fatalf("weir %s: %+v, want %q in it", strings.Join(args, " "), r, want)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// A draft from its beginning to its being in force, with two people who change the same policy.
func TestPolicyDraft(t *testing.T) {
	p := &policyCLI{t, startPolicyd(t)}
	file := write(t, t.TempDir(), "first.yaml", []byte(webPolicy))

	p.is(exitOK, "no policy was applied yet: weir policy edit begins one, weir policy apply puts it in force\n", "", "policy", "history")
	p.is(exitNotFound, "", "you have no draft: weir policy edit begins one", "policy", "plan")
	p.is(exitNotFound, "", "none was applied yet", "policy", "export")
	// Where there is no policy, the editor has one in comments, which is right.
	editor(t, `sed -i '/^# default: allow/,$s/^# //' "$1"`)
	if r := p.run("policy", "edit", "first"); r.code != exitOK || !strings.Contains(r.stdout, "draft first is saved (3 rules added)") {
		t.Errorf("weir policy edit of the first policy: %+v", r)
	}
	p.is(exitOK, "draft first is gone\n", "", "policy", "draft", "discard", "first", "--yes")
	p.is(exitOK, `applied as revision 1: 2 rules
no host has mode enforce: it is in force nowhere yet (weir hosts mode HOST enforce)
`, "", "policy", "apply", file, "--reason", "to begin with", "--base", "0")

	// An editor that changes nothing leaves nothing; one that fails neither.
	editor(t, "true")
	p.is(exitOK, "nothing was changed\n", "", "policy", "edit")
	editor(t, "exit 3")
	p.is(exitFailed, "", "exit status 3", "policy", "edit")
	p.is(exitOK, "there is no draft: weir policy edit begins one\n", "", "policy", "draft", "list")

	// One that makes mistakes hears of them with their lines, and its text is kept.
	editor(t, `[ "$(stat -c %a "$1")" = 600 ] || exit 9; sed -i 's/action: deny/action: denny/; s/name: db$/nam: db/' "$1"`)
	r := p.run("policy", "edit")
	kept := regexp.MustCompile(`your text is kept in (\S+):`).FindStringSubmatch(r.err)
	if r.code != exitFailed || kept == nil || !strings.Contains(r.err, "3 problems") || !regexp.MustCompile(`\.yaml:\d+:\d+: vms\[0\]\.nam: unknown key; did you mean "name"`).MatchString(r.err) ||
		!strings.Contains(r.err, `found "denny", want allow or deny or shadow`) || !strings.Contains(r.err, "Edit again? [Y/n]") {
		t.Fatalf("weir policy edit with mistakes: %+v", r)
	}
	if text, err := os.ReadFile(kept[1]); err != nil || !strings.Contains(string(text), "denny") || os.Remove(kept[1]) != nil {
		t.Errorf("what is kept: %q, %v", text, err)
	}

	// Mistakes that are put right in the second round are none.
	editor(t, `if grep -q 'denny' "$1"; then sed -i 's/denny/deny/' "$1"; else sed -i 's/action: deny/action: denny/; s/"5432"/"80,5432"/' "$1"; fi`)
	if r := weirIn(t, "y\n", "policy", "edit", "--data", p.data); r.code != exitOK || stable(r.stdout) != stable(`draft draft is saved (1 rule changed)

draft draft compared with revision 1, in force:
1 rule differs: it may let more pass.

VM db mandatory
  ~ Rule "postgres" has local ports 80,5432 instead of 5432: allow from address-group:inside tcp local ports 80,5432.

nothing of it is in force: weir policy plan --draft draft, then weir policy apply --draft draft
`) {
		t.Errorf("weir policy edit, twice: %+v", r)
	}
	p.is(exitOK, `DRAFT  OF    CHANGED              EDITS  LAST            BASE
draft  root  DATE TIME                1  1 rule changed  1
`, "", "policy", "draft", "list")

	// What was changed meanwhile by the same user elsewhere is not overwritten, and the text is kept.
	t.Setenv("WEIR", apptest.Binary(t))
	t.Setenv("DATA", p.data)
	editor(t, `"$WEIR" policy rule disable nothing-else --draft draft --data "$DATA" > /dev/null && sed -i 's/"80,5432"/"81"/' "$1" && sed -i 's/80,5432/81/' "$1"`)
	r = p.run("policy", "edit")
	if kept = regexp.MustCompile(`your text is kept in (\S+):`).FindStringSubmatch(r.err); r.code != exitConflict || kept == nil || !strings.Contains(r.err, "the draft was changed meanwhile") {
		t.Fatalf("weir policy edit of what was changed meanwhile: %+v", r)
	}
	if text, err := os.ReadFile(kept[1]); err != nil || !strings.Contains(string(text), "81") || os.Remove(kept[1]) != nil {
		t.Errorf("what is kept: %q, %v", text, err)
	}
	p.is(exitOK, "draft draft: 1 edit undone; it stands at: 1 rule changed\n", "", "policy", "draft", "undo")

	// Somebody else applies something: the draft is not put over it.
	other := write(t, t.TempDir(), "other.yaml", []byte(strings.Replace(webPolicy, "comment: from web", "comment: from the web", 1)+
		"global: {mandatory: [{id: no-telnet, action: deny, protocol: tcp, remote_ports: \"23\"}]}\n"))
	p.is(exitOK, "applied as revision 2: 3 rules\nno host has mode enforce: it is in force nowhere yet (weir hosts mode HOST enforce)\n", "", "policy", "apply", other, "--reason", "nobody needs telnet")
	r = p.run("policy", "apply", "--reason", "web may be asked")
	if diff := cmp.Diff(stable(`since revision 1:

REVISION  WHEN                 BY    FROM    WHAT                STATE     REASON
       2  DATE TIME            root  socket  1 added, 1 changed  in force  nobody needs telnet

revision 2, in force compared with revision 1:
2 rules differ: 1 may stop more and 1 changes nothing for packets.

Global mandatory
  + Rule "no-telnet" is added as the only one: deny either any tcp remote ports 23. So far that was decided by "postgres" (allow from address-group:inside tcp local ports 5432) and "nothing-else" (deny from any any), else by the default, which allows.

VM db mandatory
  ~ Rule "postgres" (allow from address-group:inside tcp local ports 5432) has the comment "from the web" instead of "from web".

weir: the policy was changed since revision 1: revision 2 is by root, of DATE TIME: nobody needs telnet
nothing was changed; to go on: weir policy draft rebase draft, look at weir policy plan, and apply it again
`), stable(r.err)); r.code != exitConflict || r.stdout != "" || diff != "" {
		t.Errorf("weir policy apply over another revision: code %d, %s", r.code, diff)
	}
	p.is(exitConflict, "", "to go on: take over into the file what you want of that, and apply it with --base 2", "policy", "apply", file, "--base", "1")

	// Both changed the same rule.
	p.is(exitConflict, "", `rule "postgres": you changed it, and meanwhile it was changed`, "policy", "draft", "rebase")
	if list := parse[[]policyd.Draft](t, p.run("policy", "draft", "list", "--json").stdout); len(list) != 1 || list[0].Base != 1 {
		t.Errorf("a rebase with conflicts changed the draft: %+v", list)
	}
	p.is(exitOK, `draft draft takes into account revision 2 now
rule "postgres": you changed it, and meanwhile it was changed: what is kept is yours

draft draft compared with revision 2, in force:
1 rule differs: it may let more pass.

VM db mandatory
  ~ Rule "postgres" has local ports 80,5432 instead of 5432 and has the comment "from web" instead of "from the web": allow from address-group:inside tcp local ports 80,5432.
`, "", "policy", "draft", "rebase", "--keep", "mine")
	p.is(exitOK, "draft draft takes into account revision 2, which is the newest\n", "", "policy", "draft", "rebase")
	p.is(exitOK, `draft draft compared with revision 2:
1 rule differs: it may let more pass.

VM db mandatory
  ~ Rule "postgres" has local ports 80,5432 instead of 5432 and has the comment "from web" instead of "from the web": allow from address-group:inside tcp local ports 80,5432.

0 VIFs get other rules
0 VIFs get other settings
1 number given, 0 former allow rules whose connections are decided anew

no host has mode enforce: nothing is touched (weir hosts mode HOST enforce)
`, "", "policy", "plan")

	// Applied to be confirmed; meanwhile nothing else is.
	p.is(exitOK, `applied as revision 3: 3 rules
revision 3 waits to be confirmed: it is undone at DATE TIME, in SOON, unless somebody confirms it: weir policy confirm 3

no host has mode enforce: it is in force nowhere yet (weir hosts mode HOST enforce)
`, "", "policy", "apply", "--reason", "web may be asked", "--confirm", "10m")
	p.is(exitConflict, "", "weir policy confirm keeps revision 3, weir policy rollback undoes it", "policy", "apply", file)
	p.is(exitOK, "revision 3 stays\n", "", "policy", "confirm")
	p.is(exitConflict, "", "no revision waits to be confirmed", "policy", "confirm")
	p.is(exitConflict, "", "no revision waits to be confirmed", "policy", "rollback")
	p.is(exitOK, `applied as revision 4: 2 rules
revision 4 waits to be confirmed: it is undone at DATE TIME, in SOON, unless somebody confirms it: weir policy confirm 4

no host has mode enforce: it is in force nowhere yet (weir hosts mode HOST enforce)
`, "", "policy", "restore", "1", "--yes", "--confirm", "9m50s")
	p.is(exitOK, `revision 4 is undone
revision 5 is what was in force before
no host has mode enforce: it is in force nowhere yet (weir hosts mode HOST enforce)
`, "", "policy", "rollback", "--reason", "not that")
	p.is(exitOK, `REVISION  WHEN                 BY    FROM    WHAT                              STATE          REASON
       5  DATE TIME            root  socket  undoes 4                          in force       not that
       4  DATE TIME            root  socket  restores 1, 1 changed, 1 removed  not confirmed
       3  DATE TIME            root  socket  1 changed                                        web may be asked
       2  DATE TIME            root  socket  1 added, 1 changed                               nobody needs telnet
       1  DATE TIME            root  socket  2 added, 1 group                                 to begin with
`, "", "policy", "history")
	if r, h := p.run("policy", "revisions"), p.run("policy", "history"); r.stdout != h.stdout {
		t.Errorf("weir policy revisions: %+v", r)
	}
	p.is(exitOK, `revision 2: 1 added, 1 changed
  applied    DATE TIME
  by         root
  from       socket
  reason     nobody needs telnet
  rules      3

Compared with revision 1:
2 rules differ: 1 may stop more and 1 changes nothing for packets.

Global mandatory
  + Rule "no-telnet" is added as the only one: deny either any tcp remote ports 23. So far that was decided by "postgres" (allow from address-group:inside tcp local ports 5432) and "nothing-else" (deny from any any), else by the default, which allows.

VM db mandatory
  ~ Rule "postgres" (allow from address-group:inside tcp local ports 5432) has the comment "from the web" instead of "from web".
`, "", "policy", "history", "2")
	p.is(exitOK, `--- revision 1
+++ revision 2
@@ -2,6 +2,12 @@
 address_groups:
   - name: inside
     members: [10.1.0.0/24]
+global:
+  mandatory:
+    - id: no-telnet
+      action: deny
+      protocol: tcp
+      remote_ports: "23"
 vms:
   - name: db
     mandatory:
@@ -11,7 +17,7 @@
         protocol: tcp
         remote: address-group:inside
         local_ports: "5432"
-        comment: from web
+        comment: from the web
       - id: nothing-else
         action: deny
         direction: from
`, "", "policy", "diff", "1", "2", "--raw")
	p.is(exitNotFound, "", `"nowhere" is no file: expected the number of a revision`, "policy", "diff", "nowhere")
	p.is(exitNotFound, "", "revision 99", "policy", "diff", "99")
	e := parse[struct {
		Difference policy.Difference
		Explained  explain.Explanation
	}](t, p.run("policy", "diff", "1", "3", "--json").stdout)
	if e.Explained.Effect != explain.Both || len(e.Difference.Rules) != 2 || len(e.Explained.Sections) != 2 {
		t.Errorf("weir policy diff --json: %+v", e)
	}
}

// A file that is wrong changes nothing and is told whole; one that was exported is no change.
func TestPolicyImport(t *testing.T) {
	p := &policyCLI{t, startPolicyd(t)}
	dir := t.TempDir()
	first := write(t, dir, "first.yaml", []byte(webPolicy))
	if r := p.run("policy", "apply", first); r.code != exitOK {
		t.Fatal(r)
	}
	broken := write(t, dir, "broken.yaml", []byte(`default: maybe
global:
  mandatory:
    - {id: a, action: alow, remote_ports: "80"}
    - id: b
      actoin: deny
vms:
  - name: db
    mandatory: [{id: a, action: deny, remote: 300.0.0.1}]
`))
	p.is(exitFailed, "", fmt.Sprintf(`weir: %[1]s: 7 problems:
  %[1]s:1:10: default: found "maybe", want allow or deny or shadow; known here: allow, deny, shadow
  %[1]s:4:23: global.mandatory[0].action: found "alow", want allow or deny or shadow; did you mean "allow"?
  %[1]s:4:43: global.mandatory[0].remote_ports: protocol any has no ports, want tcp, udp or sctp
  %[1]s:5:7: global.mandatory[1].action: missing, want allow or deny or shadow
  %[1]s:6:15: global.mandatory[1].actoin: unknown key; did you mean "action"?
  %[1]s:9:22: vms[0].mandatory[0].id: "a" is the id of global.mandatory[0], too
  %[1]s:9:47: vms[0].mandatory[0].remote: found "300.0.0.1", want any, an IP address, a prefix, a MAC address, address-group:NAME or vm-group:NAME
`, broken), "policy", "import", broken)
	unknown := write(t, dir, "unknown.yaml", []byte(`vms:
  - name: dbb
    mandatory: [{id: a, action: deny, remote: vm-group:nobody}]
networks:
  - {name: lan, default: [{id: b, action: deny, remote: address-group:nowhere}]}
`))
	p.is(exitFailed, "", fmt.Sprintf(`weir: %[1]s: 4 problems:
  %[1]s:2:11: vms[0].name: "dbb" is no VM; did you mean "db"?
  %[1]s:3:47: vms[0].mandatory[0].remote: "nobody" is no VM group
  %[1]s:5:12: networks[0].name: "lan" is no network
  %[1]s:5:57: networks[0].default[0].remote: "nowhere" is no address group
`, unknown), "policy", "import", unknown)
	torn := write(t, dir, "torn.yaml", []byte("vms:\n  - name: [\n"))
	p.is(exitFailed, "", torn+":", "policy", "import", torn)
	p.is(exitOK, "there is no draft: weir policy edit begins one\n", "", "policy", "draft", "list")

	out := filepath.Join(dir, "out.yaml")
	p.is(exitOK, "", "", "policy", "export", "-o", out)
	p.is(exitOK, out+` is draft out; compared with revision 1, in force:
No difference.

nothing of it is in force: weir policy plan --draft out, then weir policy apply --draft out
`, "", "policy", "import", out)
	text, err := os.ReadFile(out)
	if err != nil || p.run("policy", "export", "--draft", "out").stdout != string(text) {
		t.Errorf("what was imported is exported otherwise: %s, %v", text, err)
	}
	p.is(exitFailed, "", "7 problems", "policy", "import", broken, "--draft", "out")
	p.is(exitOK, "revision 1 is that policy already: nothing was changed\nno host has mode enforce: it is in force nowhere yet (weir hosts mode HOST enforce)\n", "", "policy", "apply", "--draft", "out")
	if s := parse[policyd.PolicyStatus](t, p.run("policy", "status", "--json").stdout); s.Head != 1 {
		t.Errorf("status %+v", s)
	}
}

// Groups are changed in force and in drafts; copies of the state are made and fetched.
func TestGroupCommands(t *testing.T) {
	p := &policyCLI{t, startPolicyd(t)}
	first := write(t, t.TempDir(), "first.yaml", []byte(webPolicy))
	if r := p.run("policy", "apply", first); r.code != exitOK {
		t.Fatal(r)
	}
	p.is(exitOK, `GROUP   OF         RULES  MEMBERS
inside  addresses      1        1  10.1.0.0/24
`, "", "group", "list")
	r := weirIn(t, "no\n", "group", "add", "inside", "10.0.0.0/8", "--data", p.data)
	if r.code != exitFailed || !strings.Contains(r.err, `Address group "inside" gains 10.0.0.0/8 (16.8 million addresses); 1 rule uses it`) || !strings.Contains(r.err, "nothing was changed") {
		t.Errorf("weir group add, answered no: %+v", r)
	}
	const nowhere = "no host has mode enforce: it is in force nowhere yet (weir hosts mode HOST enforce)\n"
	p.is(exitFailed, "", `"inside2" is no address group; did you mean "inside"?`, "group", "add", "inside", "address-group:inside2", "--yes")
	p.is(exitOK, "applied as revision 2: 2 rules\n"+nowhere, "", "group", "add", "inside", "10.0.0.0/8", "--yes", "--reason", "the office")
	if s := parse[policyd.PolicyStatus](t, p.run("policy", "status", "--json").stdout); s.Head != 2 || s.Revision.Reason != "the office" {
		t.Errorf("status %+v", s.Revision)
	}
	p.is(exitConflict, "", `group "inside" has 10.0.0.0/8 already`, "group", "add", "inside", "10.0.0.0/8", "--yes")
	p.is(exitUsage, "", "expected an address, prefix, range or address-group:NAME", "group", "add", "inside", "db", "--yes")
	p.is(exitConflict, "", `group "inside" is used: by postgres`, "group", "delete", "inside", "--yes")
	p.is(exitNotFound, "", `has no group "outside": expected inside`, "group", "show", "outside")
	p.is(exitNotFound, "", `group "inside" has no member "10.9.0.0/16" as it is written: expected 10.1.0.0/24, 10.0.0.0/8`, "group", "remove", "inside", "10.9.0.0/16", "--yes")

	// In a draft nothing of it is in force, and each is an edit.
	p.is(exitNotFound, "", `find draft "g" of root: not found`, "group", "new", "www", "web", "--draft", "g")
	p.is(exitOK, "draft g is begun with revision 2: weir policy edit g\n", "", "policy", "draft", "new", "g")
	p.is(exitOK, `draft g: group www made

draft g compared with revision 2, in force:
Nothing is enforced differently: only groups that no rule in force uses change.

VM groups
  + VM group "www" is added: VM web and VMs with tag "www" and name "w*"; no rule in force uses it.
`, "", "group", "new", "www", "web", "tag:www & name:w*", "--draft", "g")
	p.is(exitOK, `VM group www of draft g, 2 members
  web
  tag:www & name:w*
no rule names it
`, "", "group", "show", "www", "--draft", "g")
	if r := p.run("group", "remove", "www", "tag:www & name:w*", "--draft", "g"); r.code != exitOK || !strings.HasPrefix(r.stdout, "draft g: group www loses tag:www & name:w*\n") {
		t.Errorf("weir group remove: %+v", r)
	}
	p.is(exitOK, "draft g: 2 edits undone; it stands at: begun with revision 2\n", "", "policy", "draft", "undo", "--edits", "2")
	p.is(exitOK, "draft g: 1 edit done again; it stands at: group www made\n", "", "policy", "draft", "redo")
	if list := parse[[]group](t, p.run("group", "list", "--json", "--draft", "g").stdout); len(list) != 2 || list[1].Kind != vmKind || len(list[1].Members) != 2 || len(list[0].Rules) != 1 {
		t.Errorf("weir group list --json: %+v", list)
	}
	p.is(exitFailed, "", "give --yes where nobody can", "policy", "draft", "discard", "g")
	p.is(exitOK, "draft g is gone\n", "", "policy", "draft", "discard", "g", "--yes")

	p.is(exitOK, "applied as revision 3: 2 rules\n"+nowhere, "", "group", "new", "www", "web", "name:w*", "--yes")
	p.is(exitOK, `VM group www of revision 3, in force, 2 members
  web
  name:w*
no rule names it: once one does, this says which VMs are in it
`, "", "group", "show", "www")
	p.is(exitOK, "applied as revision 4: 3 rules\n"+nowhere, "", "policy", "rule", "add", "deny", "--in", "vm:db", "--remote", "vm-group:www", "--id", "no-www", "--yes")
	p.soon("in it now: web\n1 rule names it:\n", "group", "show", "www") // the estate follows the policy
	if g := parse[group](t, p.run("group", "show", "www", "--json").stdout); g.VMs == nil || !slices.Equal(*g.VMs, []string{"web"}) {
		t.Errorf("weir group show --json: VMs %v, want web", g.VMs)
	}

	// Copies of the state.
	taken := p.run("state", "snapshot", "take", "--reason", "a test")
	name, _, ok := strings.Cut(taken.stdout, ", ")
	if taken.code != exitOK || !ok {
		t.Fatalf("weir state snapshot take: %+v", taken)
	}
	if out := p.run("state", "snapshot", "list").stdout; !strings.Contains(out, name) || !strings.Contains(out, "a test") {
		t.Errorf("weir state snapshot list:\n%s", out)
	}
	copied := filepath.Join(t.TempDir(), "copy.db")
	if r := p.run("state", "snapshot", "download", name, "-o", copied); r.code != exitOK {
		t.Fatalf("weir state snapshot download: %+v", r)
	}
	if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o600 || info.Size() == 0 {
		t.Errorf("what was downloaded: %v, %v", info, err)
	}
	p.is(exitFailed, "", "file exists", "state", "snapshot", "download", name, "-o", copied)
	p.is(exitOK, name+" is removed\n", "", "state", "snapshot", "remove", name)
	p.is(exitNotFound, "", "not found", "state", "snapshot", "download", name, "-o", copied+"2")
	elsewhere := t.TempDir()
	good(t, "state", "restore", copied, "--data", elsewhere)
}

// Single rules are added, moved, switched and removed, and settings said and taken back, in force and in drafts.
func TestRuleAndSettingCommands(t *testing.T) {
	p := &policyCLI{t, startPolicyd(t)}
	first := write(t, t.TempDir(), "first.yaml", []byte(webPolicy))
	if r := p.run("policy", "apply", first); r.code != exitOK {
		t.Fatal(r)
	}
	p.is(exitOK, `WHERE            #  RULE          SAYS                                                  NOTE
VM db mandatory  1  postgres      allow from address-group:inside tcp local ports 5432  from web
VM db mandatory  2  nothing-else  deny from any any
`, "", "policy", "rule", "list")
	const nowhere = "no host has mode enforce: it is in force nowhere yet (weir hosts mode HOST enforce)\n"
	p.is(exitOK, "applied as revision 2: 3 rules\n"+nowhere, "", "policy", "rule", "add", "deny", "--in", "global", "--protocol", "tcp", "--remote-ports", "23", "--id", "no-telnet", "--yes")
	r := weirIn(t, "y\n", "policy", "rule", "add", "allow", "--direction", "from", "--protocol", "tcp", "--remote", "10.0.0.0/8", "--local-ports", "22", "--id", "ssh",
		"--before", "nothing-else", "--reason", "care", "--data", p.data)
	if r.code != exitOK || !strings.Contains(r.err, `Rule "ssh" is added after "postgres": allow from 10.0.0.0/8 tcp local ports 22. So far that was decided by "nothing-else" (deny from any any).`) {
		t.Errorf("weir policy rule add: %+v", r)
	}
	p.is(exitOK, "applied as revision 4: 4 rules\n"+nowhere, "", "policy", "rule", "move", "ssh", "--first", "--yes")
	p.is(exitOK, "applied as revision 5: 3 rules\n"+nowhere, "", "policy", "rule", "disable", "ssh", "--yes")
	p.is(exitOK, `WHERE            #  RULE  SAYS                                      NOTE
VM db mandatory  1  ssh   allow from 10.0.0.0/8 tcp local ports 22  off
`, "", "policy", "rule", "list", "22")
	p.is(exitOK, "applied as revision 6: 4 rules\n"+nowhere, "", "policy", "rule", "enable", "ssh", "--yes")
	p.is(exitOK, "applied as revision 7: 2 rules\n"+nowhere, "", "policy", "rule", "remove", "ssh", "no-telnet", "--yes", "--reason", "enough")
	p.is(exitOK, "revision 7 compared with revision 1:\nNo difference.\n", "", "policy", "diff", "1", "7")

	p.is(exitOK, "draft d is begun with revision 7: weir policy edit d\n", "", "policy", "draft", "new", "d")
	if r := p.run("policy", "rule", "add", "shadow", "--in", "vif:web/0", "--expires", "8h", "--draft", "d"); r.code != exitOK || !strings.Contains(r.stdout, "VIF web/0\n  + Rule \"r") {
		t.Errorf("weir policy rule add in a draft: %+v", r)
	}
	list := parse[[]listedRule](t, p.run("policy", "rule", "list", "--draft", "d", "--json").stdout)
	if len(list) != 3 || list[2].List != "VIF web/0" || time.Until(list[2].Expires) < 7*time.Hour || time.Until(list[2].Expires) > 8*time.Hour {
		t.Errorf("weir policy rule list --json: %+v", list)
	}
	for _, x := range []struct {
		code int
		want string
		args string
	}{
		{exitUsage, `ACTION: found "alow", want allow or deny or shadow`, "add alow --in global"},
		{exitUsage, "expected --in, --before or --after", "add deny"},
		{exitUsage, "did you mean network", "add deny --in netwrk:front"},
		{exitUsage, "a VIF has one list of rules only", "add deny --in vif:web/0 --default"},
		{exitUsage, "protocol any has no ports", "add deny --in global --remote-ports 22"},
		{exitUsage, `rule "postgres" is in VM db mandatory, and --in says global mandatory`, "add deny --in global --after postgres"},
		{exitUsage, "expected a span of time as 8h", "add deny --in global --expires soon"},
		{exitUsage, "cannot stand next to itself", "move postgres --after postgres"},
		{exitNotFound, `has no rule "postgre"; did you mean postgres`, "disable postgre"},
		{exitConflict, `has a rule "postgres" already`, "add deny --in global --id postgres"},
		{exitFailed, `"dbb" is no VM; did you mean "db"?`, "add deny --in vm:dbb"},
	} {
		p.is(x.code, "", x.want, append([]string{"policy", "rule"}, append(strings.Fields(x.args), "--yes")...)...)
	}
	settingCommands(p)
}

// settingCommands wants settings to be said and taken back, in force, where revision 7 is the newest, and in drafts.
func settingCommands(p *policyCLI) {
	const nowhere = "no host has mode enforce: it is in force nowhere yet (weir hosts mode HOST enforce)\n"
	p.is(exitOK, "in revision 7, in force, no setting is said: weir policy settings --known lists those that there are\n", "", "policy", "settings")
	p.is(exitOK, "in revision 7, in force, vm:db says no setting: weir policy settings --known lists those that there are\n", "", "policy", "settings", "vm:db")
	p.is(exitOK, "applied as revision 8: 2 rules\n"+nowhere, "", "policy", "set", "vm:db", "rate_out=100Mbit/s", "guard_ip=on", "--yes")
	r := weirIn(p, "n\n", "policy", "set", "vif:web/0", "rate_in=20Mbit/s burst 2kB", "--data", p.data)
	if r.code != exitFailed || r.stdout != "" || !strings.Contains(r.err, "warning: VIF web/0: rate_in: a burst of 2kB is less than what comes in 0.8 s") || !strings.Contains(r.err, "nothing was changed") {
		p.Errorf("weir policy set, answered no: %+v", r)
	}
	p.is(exitOK, `LEVEL  SETTING   VALUE
vm:db  rate_out  100Mbit/s
vm:db  guard_ip  on
`, "", "policy", "settings")
	p.is(exitOK, `2 VIFs, where they are plugged policy is: unknown at 2, which are plugged nowhere

the same at all:
SETTING  VALUE  SAID BY  OVERRIDDEN
rate_in  off  built in
mirror  off  built in
guard_mac  on  built in
guard_dhcp  off  built in
guard_ra  off  built in
quarantine  off  built in
allowed_addresses  off  built in

VIF  RATE_OUT  GUARD_IP
db/0  100Mbit/s (VM db)  on (VM db)
web/0  off (built in)  off (built in)

guard_ip: not enforced for IPv6: no source has told such an address of it, besides link-local ones: 1 VIF: db/0
`, "", "policy", "effective", "estate")
	if out := stable(p.run("policy", "history", "8").stdout); !strings.Contains(out, `
1 VIF gets other settings by it, of those that there are now
  rate_out: off (built in) → 100Mbit/s (VM db) for 1 VIF: db/0
  guard_ip: off (built in) → on (VM db) for 1 VIF: db/0
`) {
		p.Errorf("weir policy history 8:\n%s", out)
	}
	const less = `
1 VIF gets other settings by it, of those that there are now
  rate_out: 100Mbit/s (VM db) → off (built in) for 1 VIF: db/0
  guard_ip: on (VM db) → off (built in) for 1 VIF: db/0
`
	if out := p.run("policy", "diff", "8", "7").stdout; !strings.HasSuffix(out, less) {
		p.Errorf("weir policy diff 8 7:\n%s", out)
	}
	if d := parse[policyd.Comparison](p, p.run("policy", "diff", "8", "7", "--json").stdout); d.SettingVIFs != 1 || len(d.SettingChanges) != 2 || d.SettingChanges[1].Key != "guard_ip" {
		p.Errorf("weir policy diff 8 7 --json: %+v", d)
	}
	if out := p.run("policy", "diff", write(p.T, p.TempDir(), "rules.yaml", []byte(webPolicy))).stdout; !strings.HasSuffix(out, "\nwhich VIFs get other settings is not known: both have to be revisions or drafts; of a file, weir policy plan says it\n") {
		p.Errorf("weir policy diff of a file:\n%s", out)
	}
	if list := parse[[]policyd.EffectiveVIF](p, p.run("policy", "effective", "vm:db", "--unguarded", "--json").stdout); len(list) != 1 || list[0].VIF != "db/0" || len(list[0].Settings) != 9 {
		p.Errorf("weir policy effective vm:db --unguarded: %+v", list)
	}
	p.is(exitNotFound, "", `find VIF "nobody": not found: want VM/DEVICE`, "policy", "effective", "nobody")
	p.is(exitNotFound, "", `find network "lan": not found`, "policy", "effective", "network:lan")
	p.is(exitOK, "applied as revision 9: 2 rules\n"+nowhere, "", "policy", "unset", "vm:db", "rate_out", "guard_ip", "--yes", "--reason", "enough")
	p.is(exitOK, "revision 9 compared with revision 7:\nNo difference.\n", "", "policy", "diff", "7", "9")
	if out := p.run("policy", "history").stdout; !strings.Contains(out, "2 settings") || !strings.Contains(out, "vm:db says rate_out=100Mbit/s, guard_ip=on") || !strings.Contains(out, "enough") {
		p.Errorf("weir policy history:\n%s", out)
	}

	// In a draft, what is to be known of the edit is said; what it names may come later, but mirror targets.
	p.is(exitOK, "draft s is begun with revision 9: weir policy edit s\n", "", "policy", "draft", "new", "s")
	p.is(exitOK, `draft s: pool:lab says mirror_vlans=900

draft s compared with revision 9, in force:
1 setting differs: it may let more pass and stop more.

Settings
  + Pool lab: mirror_vlans is 900; nothing was said before
warning: pool lab: copies of traffic leave in VLAN 900: a switch on their way that learns addresses there sends traffic astray
`, "", "policy", "set", "pool:lab", "mirror_vlans=900", "--draft", "s")
	for _, args := range [][]string{{"mirror-target:wire", "to=vlan 900"}, {"vm:web", "mirror=wire out"}, {"global", "fail_mode=safe"}} {
		if r := p.run(append([]string{"policy", "set", "--draft", "s"}, args...)...); r.code != exitOK || strings.Contains(r.stdout, "warning") {
			p.Errorf("weir policy set %q in a draft: %+v", args, r)
		}
	}
	p.is(exitFailed, "", `vms[1].settings.mirror: "wier" is no mirror target; did you mean "wire"?`, "policy", "set", "vm:web", "mirror=wier", "--draft", "s")
	if out := p.run("policy", "diff", "draft:s").stdout; !strings.Contains(out, "which VIFs get other settings is not known: settings of draft s of ") || !strings.Contains(out, `"lab" is no pool`) {
		p.Errorf("weir policy diff draft:s:\n%s", out)
	}
	want := []saidSetting{{"global", "fail_mode", "safe"}, {"mirror-target:wire", "to", "vlan 900"}, {"pool:lab", "mirror_vlans", "900"}, {"vm:web", "mirror", "wire out"}}
	if diff := cmp.Diff(want, parse[[]saidSetting](p, p.run("policy", "settings", "--draft", "s", "--json").stdout)); diff != "" {
		p.Errorf("weir policy settings --json (-want +got):\n%s", diff)
	}
	p.is(exitOK, "LEVEL   SETTING  VALUE\nvm:web  mirror  wire out\n", "", "policy", "settings", "vm:web", "--draft", "s")
	p.is(exitFailed, "", `"lab" is no pool`, "policy", "apply", "--draft", "s")

	for _, x := range []struct {
		code int
		want string
		args []string
	}{
		{exitUsage, `LEVEL: found "netwrk:front", want global, pool:NAME, network:NAME, vm:NAME, vif:VM/DEVICE or mirror-target:NAME; did you mean network:NAME?`, []string{"set", "netwrk:front", "rate_out=off"}},
		{exitUsage, `setting "rate.out" is unknown; did you mean "rate_out"?` + "\n" + `setting "guard_ip": found "onn", want on or off; did you mean "on"?`, []string{"set", "vm:db", "rate.out=off", "guard_ip=onn"}},
		{exitUsage, `"burst": expected SETTING=VALUE; a value with spaces stands in quotes`, []string{"set", "vm:db", "rate_out=20Mbit/s", "burst", "2MB"}},
		{exitUsage, `setting "guard_ip" is there twice`, []string{"set", "vm:db", "guard_ip=on", "guard_ip=off"}},
		{exitUsage, "weir policy unset leaves it to the levels above", []string{"set", "vm:db", "rate_out=inherit"}},
		{exitUsage, `setting "fail_mode": found vm:db, want global or pool:NAME`, []string{"set", "vm:db", "fail_mode=safe"}},
		{exitUsage, `setting "speed" is unknown`, []string{"unset", "vm:db", "speed"}},
		{exitNotFound, "in revision 9, in force, vm:db does not say rate_out: weir policy settings", []string{"unset", "vm:db", "rate_out"}},
		{exitNotFound, "in draft s, vm:other/web does not say mirror, as vm:web does: weir policy settings", []string{"unset", "vm:other/web", "mirror", "--draft", "s"}},
		{exitFailed, `"dbb" is no VM; did you mean "db"?`, []string{"set", "vm:dbb", "rate_out=off"}},
	} {
		p.is(x.code, "", x.want, append(append([]string{"policy"}, x.args...), "--yes")...)
	}
	known := parse[[]policy.Setting](p, p.run("policy", "settings", "global", "--known", "--json").stdout)
	if i := slices.IndexFunc(known, func(s policy.Setting) bool { return s.Key == "guard_mac" }); len(known) < 10 || i < 0 || known[i].Default != "on" || !slices.Equal(known[i].Values, []string{"on", "off"}) ||
		slices.ContainsFunc(known, func(s policy.Setting) bool { return s.Key == "to" || s.Doc == "" }) {
		p.Errorf("weir policy settings global --known --json: %+v", known)
	}
}

// Two people with tokens of their own, from elsewhere: the second hears what the first did, and a viewer changes nothing.
func TestPolicyUsers(t *testing.T) {
	data := startPolicyd(t)
	in, err := instance.Find(data)
	if err != nil {
		t.Fatal(err)
	}
	config := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", config)
	t.Setenv("WEIR_SERVER", "")
	admin := client.Local(in, "test")
	profiles := "profiles:\n"
	for name, role := range map[string]string{"alice": "operator", "bob": "operator", "carol": "viewer"} {
		if err := admin.Change(t.Context(), http.MethodPut, "/api/v1/users/"+name, map[string]string{"role": role}, nil); err != nil {
			t.Fatal(err)
		}
		var token struct{ Secret string }
		if err := admin.Change(t.Context(), http.MethodPost, "/api/v1/tokens", map[string]any{
			"user": name, "name": "test", "scopes": []string{"all:write"}, "expires": time.Now().Add(time.Hour),
		}, &token); err != nil {
			t.Fatal(err)
		}
		profiles += fmt.Sprintf("  %s: {server: \"http://%s\", token_file: %s}\n", name, in.API, write(t, config, name+".token", []byte(token.Secret)))
		if err := os.Chmod(filepath.Join(config, name+".token"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(config, "weir"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(config, "weir"), "profiles.yaml", []byte(profiles))
	as := func(user string, args ...string) result { return weir(t, append(args, "--server", user)...) }
	wants := func(r result, code int, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if r.code != code || !strings.Contains(stable(r.stdout+r.err), stable(text)) {
				t.Errorf("code %d, want %d and %q in\n%s%s", r.code, code, text, stable(r.stdout), stable(r.err))
			}
		}
	}
	editor(t, `echo 'global: {mandatory: [{id: no-telnet, action: deny, protocol: tcp, remote_ports: "23"}]}' > "$1"`)
	wants(as("alice", "policy", "edit", "telnet"), exitOK, "draft telnet is saved (1 rule added)")
	wants(as("bob", "policy", "draft", "list"), exitOK, "there is no draft")
	wants(as("bob", "policy", "draft", "list", "--all"), exitOK, "telnet  alice")
	wants(as("bob", "policy", "draft", "show", "alice/telnet"), exitOK, `Rule "no-telnet" is added`)
	wants(as("bob", "policy", "apply", "--draft", "telnet"), exitNotFound, `find draft "telnet" of bob: not found`)
	wants(as("bob", "policy", "rule", "add", "deny", "--in", "vm:db", "--id", "closed", "--reason", "an attack", "--yes"), exitOK, "applied as revision 1")
	wants(as("alice", "policy", "apply", "--reason", "telnet"), exitConflict,
		"       1  DATE TIME            bob  127.0.0.1", "an attack", `Rule "closed" is added as the only one: deny either any any.`, "revision 1 is by bob", "weir policy draft rebase telnet")
	wants(as("alice", "policy", "draft", "rebase"), exitOK, "draft telnet takes into account revision 1 now", `Rule "no-telnet" is added`)
	wants(as("alice", "policy", "apply", "--reason", "telnet"), exitOK, "applied as revision 2: 2 rules")
	wants(as("carol", "policy", "history"), exitOK, "alice", "bob")
	wants(as("carol", "policy", "diff", "1", "2"), exitOK, `Rule "no-telnet" is added`)
	wants(as("carol", "policy", "rule", "remove", "closed", "--yes"), exitRefused, "operator")
	wants(as("carol", "policy", "edit"), exitRefused, "operator")
	wants(as("carol", "policy", "confirm", "2"), exitRefused, "operator")
	wants(as("alice", "state", "snapshot", "list"), exitRefused, "superuser")
}

// Shells complete drafts, revisions, groups and rules.
func TestPolicyCompletion(t *testing.T) {
	p := &policyCLI{t, startPolicyd(t)}
	first := write(t, t.TempDir(), "first.yaml", []byte(webPolicy))
	if r := p.run("policy", "apply", first, "--reason", "to begin with"); r.code != exitOK {
		t.Fatal(r)
	}
	if r := p.run("policy", "draft", "new", "web"); r.code != exitOK {
		t.Fatal(r)
	}
	directive := "4" // no file names
	f := func(want string, words ...string) {
		t.Helper()
		at := len(words) - 1
		if i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "--") }); i >= 0 {
			at = i
		}
		r := weir(t, append([]string{"__complete"}, slices.Insert(words, at, "--data", p.data)...)...)
		if got, _, _ := strings.Cut(r.stdout, ":"+directive+"\n"); r.code != exitOK || got != want {
			t.Errorf("complete %q: %q, want %q", words, r.stdout, want)
		}
	}
	f("web\tbegun with revision 1\n", "policy", "edit", "")
	f("web\tbegun with revision 1\n", "policy", "apply", "--draft", "")
	f("1\tto begin with\n", "policy", "restore", "")
	f("", "policy", "restore", "1", "")
	f("inside\t10.1.0.0/24\n", "group", "show", "")
	f("postgres\tallow from address-group:inside tcp local ports 5432\nnothing-else\tdeny from any any\n", "policy", "rule", "move", "postgres", "--before", "no")
	f("postgres\tallow from address-group:inside tcp local ports 5432\nnothing-else\tdeny from any any\n", "policy", "rule", "disable", "nothing-else", "")

	if r := p.run("policy", "set", "mirror-target:ids", "to=port eth1", "--yes"); r.code != exitOK {
		t.Fatal(r)
	}
	f("vm:db\nvm:web\n", "policy", "set", "vm:")
	f("vif:web/0\n", "policy", "set", "vif:w")
	f("mirror-target:ids\n", "policy", "settings", "mirror-target:")
	f("guard_ip=off\nguard_ip=on\n", "policy", "set", "vm:web", "guard_mac=off", "guard_ip=")
	f("mirror=ids\nmirror=off\n", "policy", "set", "global", "mirror=")
	f("to\n", "policy", "unset", "mirror-target:ids", "")
	f("", "policy", "set", "vm:web", "speed=")
	directive = "6" // and no space behind it
	f("network:\n", "policy", "unset", "n")
	f("fail_mode=\n", "policy", "set", "pool:lab", "f")
}
