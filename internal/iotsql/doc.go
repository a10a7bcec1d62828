// Package iotsql is AWS IoT SQL: the language of AWS IoT Core's topic rules.
//
// Compile parses a statement for one version of the language; the Rule it
// returns is evaluated over messages, from many goroutines if need be. Check
// finds mistakes that need no message to be seen, Explain says why a message
// did not fire a rule, an Index finds the rules that a topic triggers.
//
// The reference is AWS's developer guide: pages iot-sql-reference, -select,
// -from, -where, -set, -data-types, -operators, -functions, -literals, -case,
// -json, -nested-queries, iot-rule-sql-version, iot-substitution-templates and
// binary-payloads. test/conformance holds the package to them case by case.
//
// # Where the pages contradict themselves
//
//   - bitnot(13) is -14, not 2 as its example says.
//   - round rounds halves away from zero, as its examples; its table says down.
//   - get("abc", 1) is "b", by its table; its example says "a".
//   - concat(1) is "1", as its example; its table says that the argument is
//     returned as it is. An Array is.
//   - Int / Int is Int, by the operators' table; iot-sql-set shows 23.89 for
//     (75 - 32) * 5 / 9, which is 23 here.
//   - cast of a String to String is that String, as the conversions say; the
//     cast's own table has the one for Boolean there.
//   - cast to Int rounds down; chr, substring, lpad and rpad round their Int
//     arguments down. get rounds its index to the nearest Int, as the
//     conversions say.
//   - A topic filter stands in quotes; iot-sql-json has one without. Double quotes
//     are taken too, as public rules that run on AWS have them.
//   - iot-sql-select and -where list substitution templates; ${...} in a
//     statement is a syntax error, they stand in the fields of actions.
//
// # What the pages do not say
//
// Nobody here could try these on AWS. Each is marked [LIVE] in the code or
// stands here alone.
//
//   - SELECT * prints "a new JSON object" (iot-sql-json) without white space,
//     with the digits, escapes and order of the payload, and equal keys as they
//     are; a payload without white space is handed on byte for byte. Elsewhere
//     the last of equal keys counts.
//   - "Numeric values that are whole numbers, such as 10.0, are processed as an
//     Int" (iot-sql-data-types, of versions after 2015-10-08) is taken to mean
//     those of a message, wherever they stand in it, those that decode and
//     services return, and what cast returns: v / 4 of 10.0 is 2. A 10.0 written
//     in the statement and one that is computed stay Decimals, so that 7 / 2.0 is
//     3.5; they print as 10. Other numbers that a message has inside an Object or
//     Array are printed with the digits that they came with.
//   - Null = Null is true. AND and OR with a side that is no Boolean are
//     Undefined, whatever the other side is.
//   - An operand that is Null makes an operator or function Undefined, other than
//     =, <>, IN, CASE, isNull, nanvl and get_or_default.
//   - A magnitude above 9.999...E999 is Undefined, one below 1E-999 is zero, and
//     digits beyond 34 are rounded half to even.
//   - A minus before an expression is 0 minus that expression.
//   - A column that is neither a path, a variable nor a function and has no AS is
//     called by its SQL; Check warns of it. A function is called as it is written.
//   - Of two columns with one name the later counts. path.* of what is no Object
//     adds nothing; AS a.b replaces an a that is no Object.
//   - SELECT VALUE of an Array is nothing under 2015-10-08. Which version SET,
//     CASE, IN and get_secret came with is not said: all have them.
//   - A nested SELECT sees the element's names, its alias and the variables, not
//     the names around it. Over an Object it is an Array of one result, as outputs
//     recorded on AWS show; transform takes that where it wants the result itself
//     (its example 3). Over anything else it is Undefined; EXISTS of that is false.
//   - A comma after the last column is taken, and a nested SELECT as an argument of
//     a function without parentheses of its own, as rules that run on AWS have them.
//   - * is the payload as a value, whatever JSON that is. A path, or * beside other
//     columns, wants an Object.
//   - A function that came with 2016-03-23 is Null under 2015-10-08 (a public report);
//     Check warns of it. Literals, nested queries and types of cast that came with it
//     are syntax errors.
//   - topic(n) rounds n as get does. lower and upper change character by
//     character, so that ß stays ß.
//   - IN with a right side that is no Array is Undefined.
//   - indexof is -1 if there is nothing to find, regexp_substr is Undefined.
//     Lengths and indexes count Unicode characters.
//   - transform: of an attribute that both have, the Object's counts.
//   - Strings have no escapes but the doubled quote.
//   - The variables of SET are computed anew for each template. How many there may
//     be is not said: as many as fit into the statement.
//   - $$ in a template is one $. Undefined and Null leave nothing in a template.
//   - Regular expressions are RE2's, AWS's are Java's: there is no look-around, no
//     back-reference and no possessive quantifier, and no pattern takes
//     exponential time.
//   - Functions of double precision are rounded correctly; Java's, which AWS uses,
//     may have another last digit.
//   - parse_time writes years 1 to 9999, English names, and the abbreviation of a
//     time zone also where Joda-Time has its long name; time_to_epoch reads the
//     letters G u y D M L d E a h H k K m s S n V v z O X x Z.
//   - timestamp() tells the same time at every call of one evaluation.
//   - The limits MaxStatementBytes, MaxNesting and MaxOutputBytes, on the size of
//     regular expressions and of patterns for times, and on the work of one
//     evaluation are this package's.
package iotsql
