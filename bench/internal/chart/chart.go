// Package chart draws figures as SVG.
package chart

import (
	"fmt"
	"html"
	"math"
	"os"
	"strings"
)

const (
	width = 760
	font  = `font-family="system-ui,sans-serif" font-size="13" fill="#24292f"`
)

var colours = []string{"#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e"}

// Bar is a line of a bar chart.
type Bar struct {
	Label string
	Value float64
	Ours  bool
}

func begin(b *strings.Builder, height int, title string) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s" %s>`+"\n",
		width, height, width, height, html.EscapeString(title), font)
	fmt.Fprintf(b, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n")
	text(b, 16, 26, "start", `font-size="15" font-weight="600"`, title)
}

func text(b *strings.Builder, x, y float64, anchor, style, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" %s>%s</text>`+"\n", x, y, anchor, style, html.EscapeString(s))
}

// Bars writes a chart of values from zero on, which are also printed.
func Bars(file, title string, bars []Bar) error {
	const left, step = 250, 26
	largest := 0.0
	for _, bar := range bars {
		largest = max(largest, bar.Value)
	}
	var b strings.Builder
	begin(&b, 50+step*len(bars), title)
	for i, bar := range bars {
		y := float64(44 + i*step)
		colour := "#8c959f"
		if bar.Ours {
			colour = colours[0]
		}
		length := max(bar.Value/largest*(width-left-80), 1)
		text(&b, left-10, y+13, "end", "", bar.Label)
		fmt.Fprintf(&b, `<rect x="%d" y="%.1f" width="%.1f" height="18" fill="%s"/>`+"\n", left, y, length, colour)
		text(&b, left+length+6, y+13, "start", "", fmt.Sprintf("%.3g", bar.Value))
	}
	b.WriteString("</svg>\n")
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// Series is a curve.
type Series struct {
	Name string
	X, Y []float64
}

// Curves writes a chart with both axes logarithmic.
func Curves(file, title, xLabel, yLabel string, series []Series) error {
	const left, right, top, bottom, height = 70.0, 20.0, 60.0, 50.0, 400.0
	x0, x1, y0, y1 := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, s := range series {
		for i := range s.X {
			x0, x1 = min(x0, math.Log10(s.X[i])), max(x1, math.Log10(s.X[i]))
			y0, y1 = min(y0, math.Log10(s.Y[i])), max(y1, math.Log10(s.Y[i]))
		}
	}
	x0, x1, y0, y1 = math.Floor(x0+0.001), math.Ceil(x1-0.001), math.Floor(y0), math.Ceil(y1)
	px := func(v float64) float64 { return left + (math.Log10(v)-x0)/(x1-x0)*(width-left-right) }
	py := func(v float64) float64 { return height - bottom - (math.Log10(v)-y0)/(y1-y0)*(height-top-bottom) }
	var b strings.Builder
	begin(&b, height, title)
	line := func(ax, ay, bx, by float64) {
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#d0d7de"/>`+"\n", ax, ay, bx, by)
	}
	for d := x0; d <= x1; d++ {
		x := px(math.Pow(10, d))
		line(x, top, x, height-bottom)
		text(&b, x, height-bottom+18, "middle", "", power(d))
	}
	for d := y0; d <= y1; d++ {
		y := py(math.Pow(10, d))
		line(left, y, width-right, y)
		text(&b, left-8, y+4, "end", "", power(d))
	}
	text(&b, (left+width-right)/2, height-12, "middle", "", xLabel)
	text(&b, 16, 46, "start", "", yLabel)
	for i, s := range series {
		colour := colours[i%len(colours)]
		var points []string
		for j := range s.X {
			points = append(points, fmt.Sprintf("%.1f,%.1f", px(s.X[j]), py(s.Y[j])))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", px(s.X[j]), py(s.Y[j]), colour)
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), colour)
		text(&b, left+12, top+18+float64(i)*18, "start", `style="fill:`+colour+`"`, s.Name)
	}
	b.WriteString("</svg>\n")
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

func power(d float64) string {
	if d >= -2 && d <= 4 {
		return fmt.Sprintf("%g", math.Pow(10, d))
	}
	return fmt.Sprintf("1e%g", d)
}

// Exponent fits y = c x^k to the points, by least squares of the logarithms, and
// returns k.
func Exponent(x, y []float64) float64 {
	var sx, sy, sxx, sxy float64
	for i := range x {
		a, b := math.Log(x[i]), math.Log(y[i])
		sx, sy, sxx, sxy = sx+a, sy+b, sxx+a*a, sxy+a*b
	}
	n := float64(len(x))
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}
