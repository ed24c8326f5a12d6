/// A bind that a personality refused, because of what it asked for: a program's error that is an errno
/// for its driver, and that nobody else would see.
public struct RefusedBind: Sendable {
    /// Positive.
    public var errno: Int32
    /// The operation, as it was asked for.
    public var operation: OperationRecord
    /// Its place in the request, from 0.
    public var index: Int
    /// How many operations the request has.
    public var count: Int
    /// The mapping that it would have made; with the buffer, if there is one of its handle.
    public var mapping: MappingInfo
    /// The buffer's size in bytes; 0 for no buffer.
    public var bufferBytes: UInt64
    /// What is wrong with it.
    public var reason: String
}

extension RefusedBind: CustomStringConvertible {
    /// What was asked for, and why it was refused.
    public var description: String {
        var source = ""
        if bufferBytes != 0 {
            let name = mapping.name.isEmpty ? "" : " “\(mapping.name)”"
            source = """
                 from 0x\(hex(mapping.offset)) of BO \(mapping.buffer)\(name), which has \
                0x\(hex(bufferBytes)) bytes
                """
        }
        return """
            \(operation.kind) of 0x\(hex(operation.address))+0x\(hex(operation.range))\(source) \
            (operation \(index + 1) of \(count)) answered errno \(errno): \(reason)
            """
    }
}
