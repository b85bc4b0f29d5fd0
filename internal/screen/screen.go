package screen

import (
	"context"
	"errors"
	"io"
	"time"

	tea "github.com/charmbracelet/bubbletea"
)

// refresh is how often the screen is drawn anew.
const refresh = 500 * time.Millisecond

// Options are what the screen is told beside the board.
type Options struct {
	In     io.Reader
	Out    io.Writer
	Title  string        // printable ASCII
	Colour bool          // otherwise bold and reverse only
	Notes  func() string // the last message of the program, on one line and printable
}

// Run shows the board until the user ends it, or ctx does.
func Run(ctx context.Context, b *Board, o Options) error {
	m := &model{board: b, Options: o, width: 80, height: 24}
	m.update()
	_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithAltScreen(), tea.WithoutSignalHandler()).Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return nil
	}
	return err
}

type tick struct{}

func next() tea.Cmd { return tea.Tick(refresh, func(time.Time) tea.Msg { return tick{} }) }

// model is the state of the screen.
type model struct {
	Options
	board         *Board
	width, height int

	page    int // a By, or alertsPage
	order   Order
	reverse bool
	match   string // rows whose value contains it
	path    []Step
	paused  bool
	typing  bool
	help    bool

	view     View
	selected int
	chosen   string // value of the selected row, which stays selected while rows move
	top      int    // first row on the screen
}

const alertsPage = int(numBy)

// Init implements tea.Model.
func (m *model) Init() tea.Cmd { return next() }

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tick:
		if !m.paused {
			m.update()
		}
		return m, next()
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyMsg:
		if m.typing {
			m.write(msg)
		} else if m.press(msg.String()) {
			return m, tea.Quit
		}
	}
	m.scroll()
	return m, nil
}

// update takes a new look at the board.
func (m *model) update() {
	by := By(m.page)
	if m.page == alertsPage {
		by = Names
	}
	m.view = m.board.View(by, m.order, m.reverse, m.match)
	for i := range m.view.Rows {
		if m.view.Rows[i].Value == m.chosen {
			m.selected = i
		}
	}
	m.scroll()
}

// write takes a key of the text to look for.
func (m *model) write(key tea.KeyMsg) {
	switch key.Type {
	case tea.KeyEnter:
		m.typing = false
	case tea.KeyEsc, tea.KeyCtrlC:
		m.typing, m.match = false, ""
	case tea.KeyBackspace:
		m.match = m.match[:max(0, len(m.match)-1)]
	case tea.KeyRunes, tea.KeySpace:
		for _, r := range key.Runes {
			if r > ' ' && r < 0x7f && len(m.match) < maxValue {
				if r >= 'A' && r <= 'Z' {
					r += 'a' - 'A'
				}
				m.match += string(r)
			}
		}
	}
	m.choose(0)
	m.update()
}

// press takes a key, and reports whether it ends the screen.
func (m *model) press(key string) (end bool) {
	if m.help {
		m.help = false
		return key == "ctrl+c"
	}
	switch key {
	case "q", "ctrl+c":
		return true
	case "?", "h", "f1":
		m.help = true
	case "tab", "right", "l":
		m.turn(m.page + 1)
	case "shift+tab", "left":
		m.turn(m.page - 1)
	case "1", "2", "3", "4", "5", "6", "7", "8":
		m.turn(int(key[0] - '1'))
	case "down", "j":
		m.choose(m.selected + 1)
	case "up", "k":
		m.choose(m.selected - 1)
	case "pgdown", "ctrl+f":
		m.choose(m.selected + m.space())
	case "pgup", "ctrl+b":
		m.choose(m.selected - m.space())
	case "home", "g":
		m.choose(0)
	case "end", "G":
		m.choose(m.rows() - 1)
	case "s", ">":
		m.sort((m.order+1)%numOrders, false)
	case "<":
		m.sort((m.order+numOrders-1)%numOrders, false)
	case "r":
		m.sort(m.order, !m.reverse)
	case "p", " ":
		m.paused = !m.paused
	case "c":
		m.board.Clear()
		m.update()
	case "/":
		m.typing = true
	case "enter":
		m.into()
	case "esc", "backspace":
		m.out()
	}
	return false
}

func (m *model) turn(page int) {
	pages := alertsPage + 1
	m.page = (page + pages) % pages
	m.choose(0)
	m.update()
}

func (m *model) sort(order Order, reverse bool) {
	m.order, m.reverse = order, reverse
	m.update()
}

func (m *model) rows() int {
	if m.page == alertsPage {
		return len(m.view.Alerts)
	}
	return len(m.view.Rows)
}

func (m *model) choose(i int) {
	m.selected, m.chosen = max(0, min(i, m.rows()-1)), ""
	if m.page != alertsPage && m.selected < len(m.view.Rows) && i > 0 {
		m.chosen = m.view.Rows[m.selected].Value
	}
}

// into looks at what belongs to the selected row only.
func (m *model) into() {
	if m.page == alertsPage || m.selected >= len(m.view.Rows) {
		return
	}
	by := By(m.page)
	for _, s := range m.path {
		if s.By == by {
			return
		}
	}
	m.path = append(m.path, Step{By: by, Value: m.view.Rows[m.selected].Value})
	m.match = ""
	m.board.Look(m.path)
	switch {
	case by != Names:
		m.turn(int(Names))
	case m.board.Live:
		m.turn(int(Processes))
	default:
		m.turn(int(Clients))
	}
}

// out takes back what was chosen last.
func (m *model) out() {
	switch {
	case m.match != "":
		m.match = ""
		m.update()
	case len(m.path) > 0:
		last := m.path[len(m.path)-1]
		m.path = m.path[:len(m.path)-1]
		m.board.Look(m.path)
		m.turn(int(last.By))
	}
}

// scroll keeps the selected row on the screen.
func (m *model) scroll() {
	m.selected = max(0, min(m.selected, m.rows()-1))
	space := m.space()
	m.top = max(m.top, m.selected-space+1)
	m.top = max(0, min(m.top, m.selected))
}
