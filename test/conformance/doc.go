// Package conformance holds AWS IoT SQL to AWS's reference, case by case. The
// cases are in testdata, each with the page of the AWS IoT Core developer guide
// that says so: operators.txt and functions.txt are tables over the types of
// their operands, expressions.txt lists expressions, statements.cases whole
// statements over messages.
package conformance
