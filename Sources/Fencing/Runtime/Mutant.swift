#if MUTANTS
    import Glibc

    /// A small deliberate defect, compiled in for `make test-mutants` only.
    ///
    /// One build holds them all; the environment variable GPUVM_MUTANT plants one. Each must make a
    /// test fail. Release builds and ordinary test builds do not contain this type.
    public enum Mutant {
        private static let planted =
            getenv("GPUVM_MUTANT").map { String(cString: $0) } ?? ""

        /// Whether the defect of that name is planted in this process.
        public static func isPlanted(_ name: String) -> Bool { planted == name }
    }
#endif
