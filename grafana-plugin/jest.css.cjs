// Styles, which a test does not look at.
module.exports = {};
