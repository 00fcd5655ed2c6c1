/** The RPC version of this build, which is the only one there is; it is also in the hub's name. */
export const RPC = 1;
