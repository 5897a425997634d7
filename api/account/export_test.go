package account

// What tests look at.
var (
	HashPassword  = func(password string) string { return hashPassword(password, current) }
	CheckPassword = checkPassword
)

// CheapPassword is one of another cost than is used now.
func CheapPassword(password string) string {
	return hashPassword(password, cost{memory: 64, passes: 1, threads: 1})
}
