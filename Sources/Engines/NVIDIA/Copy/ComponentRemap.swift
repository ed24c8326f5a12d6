#if MUTANTS
    import Fencing
#endif

/// How the copy class makes an element of the destination out of one of the source and constants.
///
/// An element is 1…4 components of 1…4 bytes. Each component of the destination is one of the
/// source's, one of two constants (their low bytes), or not written. A component that the source's
/// elements do not have reads 0.
///
/// Source: SET_REMAP_COMPONENTS in NVIDIA open-gpu-doc, `clc5b5.h`.
struct ComponentRemap: Equatable {
    private static let constantA: UInt8 = 4
    private static let constantB: UInt8 = 5
    private static let noWrite: UInt8 = 6

    let componentBytes: Int
    let sourceComponents: Int
    let destinationComponents: Int
    /// 0…3 a source component, 4 and 5 the constants, 6 no write.
    private let selectors: SIMD4<UInt8>
    private let constants: SIMD2<UInt32>

    /// Decodes the registers; nil if a component of the destination has a source that is not
    /// defined.
    init?(components: UInt32, constantA: UInt32, constantB: UInt32) {
        componentBytes = Int(components >> 16 & 3) + 1
        sourceComponents = Int(components >> 20 & 3) + 1
        destinationComponents = Int(components >> 24 & 3) + 1
        constants = SIMD2(constantA, constantB)
        var selectors = SIMD4<UInt8>(repeating: Self.noWrite)
        for index in 0..<destinationComponents {
            let selector = UInt8(components >> UInt32(4 * index) & 7)
            if selector > Self.noWrite { return nil }
            selectors[index] = selector
        }
        #if MUTANTS
            if Mutant.isPlanted("remapSwapsXAndZ") {
                (selectors[0], selectors[2]) = (selectors[2], selectors[0])
            }
        #endif
        self.selectors = selectors
    }

    var sourceBytes: Int { componentBytes * sourceComponents }
    var destinationBytes: Int { componentBytes * destinationComponents }

    /// Whether a component of the source is used at all; if not, the source is not read.
    var readsSource: Bool {
        for index in 0..<destinationComponents where selectors[index] < Self.constantA {
            return true
        }
        return false
    }

    /// Whether every component of the destination is written.
    var writesAll: Bool {
        for index in 0..<destinationComponents where !writes(index) { return false }
        return true
    }

    /// Whether elements are copied as they are.
    var isIdentity: Bool {
        guard sourceComponents == destinationComponents else { return false }
        for index in 0..<destinationComponents where selectors[index] != UInt8(index) {
            return false
        }
        return true
    }

    /// The pattern of 4 bytes that fills lines of elements that are made of constants only; nil if
    /// they are not, or if no such pattern repeats.
    var fillPattern: UInt32? {
        guard 4 % destinationBytes == 0 else { return nil }
        for index in 0..<destinationComponents {
            guard selectors[index] == Self.constantA || selectors[index] == Self.constantB else {
                return nil
            }
        }
        let element = UInt32(truncatingIfNeeded: make(from: 0))
        var pattern: UInt32 = 0
        for byte in stride(from: 0, to: 4, by: destinationBytes) {
            pattern |= element << UInt32(8 * byte)
        }
        return pattern
    }

    /// Whether a component of the destination is written.
    func writes(_ component: Int) -> Bool { selectors[component] != Self.noWrite }

    /// Makes an element of the destination; both have their first byte lowest. What is not written
    /// is 0 here.
    func make(from source: UInt128) -> UInt128 {
        let bits = UInt128(8 &* componentBytes)
        let mask: UInt128 = (1 &<< bits) &- 1
        let known = source & sourceMask
        var element: UInt128 = 0
        var index = 0
        while index < destinationComponents {
            let selector = selectors[index]
            let component: UInt128 =
                switch selector {
                case 0..<Self.constantA: known &>> (UInt128(selector) &* bits)
                case Self.constantA: UInt128(constants[0])
                case Self.constantB: UInt128(constants[1])
                default: 0
                }
            element |= (component & mask) &<< (UInt128(index) &* bits)
            index &+= 1
        }
        return element
    }

    /// The bytes that the source's elements have.
    private var sourceMask: UInt128 {
        sourceBytes == 16 ? .max : (1 &<< UInt128(8 &* sourceBytes)) &- 1
    }
}
