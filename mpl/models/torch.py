"""Weights saved in the layouts of torch, as parameters in the layouts of Linen.

Every function takes the tensors of a file by name, and the name of one layer without its last part.
"""


def convolution(tensors, name):
    """[out, in, h, w] -> [h, w, in, out]; depthwise kernels too."""
    return _with_bias(tensors, name, {'kernel': tensors[name + '.weight'].transpose(2, 3, 1, 0)})


def dense(tensors, name):
    """[out, in] -> [in, out]."""
    return _with_bias(tensors, name, {'kernel': tensors[name + '.weight'].T})


def norm(tensors, name):
    """Scale and bias of a batch norm or layer norm."""
    return {'scale': tensors[name + '.weight'], 'bias': tensors[name + '.bias']}


def statistics(tensors, name):
    """Running mean and variance of a batch norm."""
    return {'mean': tensors[name + '.running_mean'], 'var': tensors[name + '.running_var']}


def _with_bias(tensors, name, params):
    bias = tensors.get(name + '.bias')
    return params if bias is None else params | {'bias': bias}
