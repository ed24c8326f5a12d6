/// A method as it reaches its class, for the fault record.
public struct NVIDIAMethod: Equatable, Sendable {
    /// The class's number; 0 if nothing is bound to the subchannel.
    public var classID: UInt16
    /// The engine behind the class; nil if nothing is bound to the subchannel.
    public var kind: NVIDIAClassKind?
    /// The subchannel, 0…7.
    public var subchannel: UInt8
    /// The method's offset in bytes.
    public var method: UInt16
    /// Its data.
    public var value: UInt32

    /// The method's name in the class's header, where this engine knows it.
    public var name: String? {
        kind.flatMap { MethodNames.name($0, UInt32(method)) }
    }
}

extension NVIDIAMethod: CustomStringConvertible {
    /// Class, method and data.
    public var description: String {
        let label = name.map { " " + $0 } ?? ""
        return """
            method 0x\(String(method, radix: 16))\(label) = 0x\(String(value, radix: 16)) of class \
            0x\(String(classID, radix: 16)) (subchannel \(subchannel))
            """
    }
}
