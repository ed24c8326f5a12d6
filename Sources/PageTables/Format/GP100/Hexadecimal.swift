/// A number as dumps show it: 0x and as many digits as it takes.
struct Hexadecimal: CustomStringConvertible {
    let value: UInt64

    init(_ value: UInt64) { self.value = value }

    var description: String { "0x" + String(value, radix: 16) }
}
