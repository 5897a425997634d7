package store

// Functions that are tested on their own.
var (
	SplitStatements = splitStatements
	AnswerError     = answerError
)
