"""What the implementations share: why a string is not a mask of the stated size."""

CHARACTER, TRUNCATED, COUNT, TOTAL = 1, 2, 3, 4

FAULTS = {
    CHARACTER: "it holds a character outside '0' to 'o'",
    TRUNCATED: "it ends within a number",
    COUNT: "a count in it is negative or too large",
    TOTAL: "its counts do not add up to the number of pixels",
}
