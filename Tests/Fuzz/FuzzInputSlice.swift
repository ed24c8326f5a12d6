/// A part of an input that is used as one.
struct FuzzInputSlice {
    private let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    func withInput<Result>(_ body: (inout FuzzInput) -> Result) -> Result {
        bytes.withUnsafeBytes { raw in
            var input = FuzzInput(raw)
            return body(&input)
        }
    }
}
