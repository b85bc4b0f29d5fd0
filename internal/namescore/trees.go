package namescore

// Node is a node of a decision tree. A leaf has no feature: its value is added.
type Node struct {
	Feature int8 // -1: a leaf
	Limit   float32
	Left    int16 // feature <= Limit
	Right   int16
	Value   float32
}

// Trees are boosted: the sum of their leaves, and Base, is the log-odds.
type Trees struct {
	Base  float32
	Nodes []Node
	Roots []int32
}

// Score returns the log-odds of features.
func (t *Trees) Score(f *Features) float32 {
	sum := t.Base
	for _, root := range t.Roots {
		nodes := t.Nodes[root:]
		i := int16(0)
		for nodes[i].Feature >= 0 {
			if f[nodes[i].Feature] <= nodes[i].Limit {
				i = nodes[i].Left
			} else {
				i = nodes[i].Right
			}
		}
		sum += nodes[i].Value
	}
	return sum
}
