// @unchecked: used by one thread at a time, see below.
/// The state of a channel, which survives its jobs: what is bound to the subchannels, and the
/// registers of every class.
///
/// A method without an effect of its own is a register: what was written last persists, within a
/// job and into the next one. The classes' objects are the channel's, so two subchannels that are
/// bound to one class share its registers.
///
/// Memory: about 200 KiB, and as much for copies that are under way together (``HazardTracker``), all
/// allocated at creation.
///
/// Threading: created anywhere, then used by the channel's jobs, one after the other, each of which
/// has one thread at a time.
public final class NVIDIAChannel: @unchecked Sendable {
    /// How many bytes a class's methods span.
    static let methodSpan: UInt32 = 0x4000
    private static let registersOfClass = Int(methodSpan / 4)

    /// What may be bound to a subchannel.
    public let classes: NVIDIAClasses
    /// Executes the 3D class's macros.
    let macros = MacroProcessor()
    /// Looks for missing barriers between its copies.
    let hazards = HazardTracker()
    let hasBarriers: Bool
    private var bindings = SIMD8<UInt16>()
    private let registers: UnsafeMutablePointer<UInt32>
    /// What macros read and replays write: the 3D class's registers as they were last tracked.
    private let shadow: UnsafeMutablePointer<UInt32>
    private let uploads: UnsafeMutablePointer<InlineUpload>

    /// Creates a channel with the copy class on subchannel 4, where nouveau's clients expect it, and
    /// all registers 0.
    ///
    /// - Parameter hasBarriers: Whether its client says where copies depend on each other. An OpenGL
    ///   driver has no barriers, and non-pipelined launches for it.
    public init(classes: NVIDIAClasses, hasBarriers: Bool = true) {
        self.classes = classes
        self.hasBarriers = hasBarriers
        bindings[4] = classes.copy
        let count = NVIDIAClassKind.count * Self.registersOfClass
        registers = .allocate(capacity: count)
        registers.initialize(repeating: 0, count: count)
        shadow = .allocate(capacity: Self.registersOfClass)
        shadow.initialize(repeating: 0, count: Self.registersOfClass)
        uploads = .allocate(capacity: NVIDIAClassKind.count)
        uploads.initialize(repeating: InlineUpload(), count: NVIDIAClassKind.count)
    }

    deinit {
        registers.deallocate()
        shadow.deallocate()
        uploads.deallocate()
    }

    /// The class on a subchannel (0…7); 0 for none.
    func binding(_ subchannel: UInt8) -> UInt16 { bindings[Int(subchannel & 7)] }

    func bind(_ classID: UInt16, to subchannel: UInt8) { bindings[Int(subchannel & 7)] = classID }

    /// What was last written to a method of a class.
    func register(_ kind: NVIDIAClassKind, _ method: UInt32) -> UInt32 {
        registers[Self.index(kind, method)]
    }

    func setRegister(_ kind: NVIDIAClassKind, _ method: UInt32, _ value: UInt32) {
        registers[Self.index(kind, method)] = value
    }

    /// The 3D class's shadow of a register.
    func shadowRegister(_ method: UInt32) -> UInt32 {
        shadow[Int((method & (Self.methodSpan - 1)) >> 2)]
    }

    func setShadowRegister(_ method: UInt32, _ value: UInt32) {
        shadow[Int((method & (Self.methodSpan - 1)) >> 2)] = value
    }

    /// Two registers that hold an address: the upper part, of which `upperMask` counts, comes first.
    func address(
        _ kind: NVIDIAClassKind, _ method: UInt32, upperMask: UInt32 = 0x1ffff
    ) -> UInt64 {
        UInt64(register(kind, method) & upperMask) << 32 | UInt64(register(kind, method + 4))
    }

    /// The upload out of the push buffer that a class has under way.
    func upload(_ kind: NVIDIAClassKind) -> UnsafeMutablePointer<InlineUpload> {
        uploads + kind.rawValue
    }

    @inline(__always)
    private static func index(_ kind: NVIDIAClassKind, _ method: UInt32) -> Int {
        kind.rawValue &* registersOfClass &+ Int((method & (methodSpan - 1)) >> 2)
    }
}
