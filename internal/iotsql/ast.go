package iotsql

// An expr is a node of a parsed statement that has a value.
type expr interface {
	place() span
	eval(e *env) value
	appendSQL(b []byte) []byte
}

// place makes every node that embeds a span tell where it stands.
func (s span) place() span { return s }

// The nodes. A name in a path is an attribute of the payload or, in a nested
// SELECT, of the element that it runs over.
type (
	// literal is a number, string, true, false, null or undefined.
	literal struct {
		span
		value value
		sql   string
	}
	// path is a.b.c.
	path struct {
		span
		names []string
		slot  int // where the payload's value is noted; -1 in a nested SELECT
	}
	// member is .b.c after any other expression.
	member struct {
		span
		of    expr
		names []string
	}
	// star is the whole payload or, in a nested SELECT, the element.
	star struct{ span }
	// spread is path.* in a select list.
	spread struct {
		span
		of expr
	}
	// variable is @name.
	variable struct {
		span
		name  string
		index int
		kinds kindSet // which types its value can have
	}
	// unary is NOT x or -x.
	unary struct {
		span
		op string
		x  expr
	}
	// binary is l op r, with AND, OR, IN, a comparison or arithmetic.
	binary struct {
		span
		op   string
		l, r expr
	}
	// call is name(args).
	call struct {
		span
		fn   *function
		name string // as written
		args []expr
		// tooNew tells that the function came after the statement's version.
		tooNew bool
		// regex is the second argument of a regexp function, if it is a literal.
		regex *pattern
	}
	// cast is CAST(x AS typ).
	cast struct {
		span
		x   expr
		typ string // as written
	}
	// caseOf is CASE of WHEN ... THEN ... ELSE orElse END.
	caseOf struct {
		span
		of     expr
		whens  []when
		orElse expr // nil if there is none
	}
	// exists is EXISTS (SELECT ...).
	exists struct {
		span
		sub *subquery
	}
	// subquery is (SELECT ...) as a value.
	subquery struct {
		span
		query *query
	}
	arrayLiteral struct {
		span
		items []expr
	}
	objectLiteral struct {
		span
		keys  []string
		items []expr
	}
)

type when struct{ match, then expr }

// A query is SELECT ... FROM ... WHERE ...
type query struct {
	span
	value bool // SELECT VALUE
	items []column
	from  source
	where expr // nil if there is none
}

// A column is one item of a select list.
type column struct {
	expr  expr
	alias []string // the keys that AS gives, outermost first
	name  string   // the key without AS
}

// A source is what stands after FROM.
type source struct {
	filter string // of the outer query
	at     span
	over   expr   // of a nested query
	alias  string // of a nested query
}

// A statement is [SET ...] SELECT ...
type statement struct {
	set   []assignment
	query *query
	paths *paths
}

// paths are the paths of a statement into the payload.
type paths struct {
	root *pathNode
	n    int // how many slots they have
}

func newPaths() *paths { return &paths{root: &pathNode{slot: -1}} }

func (p *paths) add(names []string) (slot int) {
	slot = p.root.add(names, p.n)
	p.n = max(p.n, slot+1)
	return slot
}

func (p *paths) clone() *paths { return &paths{p.root.clone(), p.n} }

type assignment struct {
	span
	name string
	x    expr
}
