import os, sys, types, json
os.environ['TF_CPP_MIN_LOG_LEVEL']='3'; os.environ['TF_USE_LEGACY_KERAS']='1'
for n in ['tensorflow_decision_forests','jax','jax.experimental','jax.experimental.jax2tf','flax']:
    sys.modules.setdefault(n, types.ModuleType(n))
sys.modules['jax'].experimental=sys.modules['jax.experimental']; sys.modules['jax.experimental'].jax2tf=sys.modules['jax.experimental.jax2tf']
import numpy as np, tensorflow as tf
from tensorflowjs.converters import save_keras_model
for n in ['jax','flax','jax.experimental','jax.experimental.jax2tf','tensorflow_decision_forests']: sys.modules.pop(n,None)
K=tf.keras; L=K.layers; tf.random.set_seed(3); rng=np.random.default_rng(3)
f=lambda *s: rng.standard_normal(s).astype(np.float32)
def noise(m):
    for w in m.weights: w.assign(w+0.1*rng.standard_normal(w.shape).astype(np.float32))
    return m
M={}
def model(g): M[g.__name__]=g; return g
@model
def cross():   # value and key from other inputs, different widths and lengths
    q=K.Input((7,10),name='target_1'); v=K.Input((5,12),name='source_v'); k=K.Input((5,6),name='source_k')
    y=L.MultiHeadAttention(2,4,value_dim=3,name='cross_attention')(q,v,key=k); return K.Model([q,v,k],y),[f(2,7,10),f(2,5,12),f(2,5,6)]
@model
def causal():
    x=K.Input((9,8),name='x'); y=L.MultiHeadAttention(2,4,name='m')(x,x,use_causal_mask=True); return K.Model(x,L.Add()([x,y])),[f(2,9,8)]
@model
def attention_mask():
    x=K.Input((6,8),name='x'); m=K.Input((6,6),dtype='bool',name='mask'); c=K.Input((4,8),name='c')
    a=L.MultiHeadAttention(2,4,name='self')(x,x,attention_mask=m); h=L.LayerNormalization()(L.Add()([x,a]))
    mm=rng.random((2,6,6))<0.5; mm[0,2]=False
    return K.Model([x,m,c],L.MultiHeadAttention(2,4,use_bias=False,output_shape=5,name='other')(h,c)),[f(2,6,8),mm,f(2,4,8)]
@model
def masked_embedding():   # Embedding(mask_zero) through Add and Dropout to a decoder-like pair of layers
    t=K.Input((8,),name='tokens'); p=K.Input((8,),name='places')
    e=L.Add()([L.Embedding(11,8,mask_zero=True,name='words')(t),L.Embedding(8,8,name='where')(p)]); e=L.Dropout(0.1)(e)
    a=L.MultiHeadAttention(2,4,dropout=0.1,name='a')(e,e,use_causal_mask=True); h=L.LayerNormalization()(L.Add()([e,a]))
    s=K.Input((5,3),name='s'); z=L.Dense(8)(L.Masking()(s)); y=L.MultiHeadAttention(2,4,name='b')(h,z)
    tok=rng.integers(1,11,(2,8)).astype(np.float32); tok[0,5:]=0; tok[1,:2]=0; sv=f(2,5,3); sv[1,3:]=0
    return K.Model([t,p,s],y),[tok,np.tile(np.arange(8,dtype=np.float32),(2,1)),sv]
@model
def nested():
    x=K.Input((6,8),name='x'); y=K.Input((4,8),name='y'); inner=K.Model([x,y],L.MultiHeadAttention(2,4,name='inner_attention')(x,y),name='block')
    a=K.Input((6,8),name='a'); b=K.Input((4,8),name='b'); return K.Model([a,b],inner([a,b])),[f(2,6,8),f(2,4,8)]
@model
def scores():
    x=K.Input((6,8),name='x'); m=L.MultiHeadAttention(2,4,name='m'); y,s=m(x,x,return_attention_scores=True,use_causal_mask=True); return K.Model(x,[y,s]),[f(2,6,8)]
@model
def axis():
    x=K.Input((3,5,8),name='x'); y=L.MultiHeadAttention(2,4,attention_axes=[2],name='m')(x,x); z=L.MultiHeadAttention(2,4,attention_axes=(1,),name='n')(y,x); return K.Model(x,z),[f(2,3,5,8)]
@model
def shared():
    x=K.Input((6,8),name='x'); y=K.Input((6,8),name='y'); m=L.MultiHeadAttention(2,4,name='m'); return K.Model([x,y],L.Add()([m(x,x),m(y,y)])),[f(2,6,8),f(2,6,8)]
out={}
import tempfile, base64
for name,g in M.items():
    m,inputs=g(); noise(m); ys=m([tf.constant(i) for i in inputs],training=False) if len(inputs)>1 else m(tf.constant(inputs[0]),training=False)
    ys=ys if isinstance(ys,(list,tuple)) else [ys]
    d=tempfile.mkdtemp(); save_keras_model(m,d); j=json.load(open(d+'/model.json'))
    w=b''.join(open(d+'/'+p,'rb').read() for g2 in j['weightsManifest'] for p in g2['paths'])
    r=lambda a:[round(float(v),7) for v in np.asarray(a,dtype=np.float32).ravel()]
    doc={'generatedBy':'keras 2.15, tensorflow '+tf.__version__+', tensorflowjs 4.22.0','modelTopology':j['modelTopology'],'weightSpecs':[s for g2 in j['weightsManifest'] for s in g2['weights']],'weightData':base64.b64encode(w).decode(),
      'inputs':[{'name':m.input_names[i],'shape':list(a.shape),'dtype':'bool' if a.dtype==bool else 'float32','values':r(a)} for i,a in enumerate(inputs)],'outputs':[{'shape':list(y.shape),'values':r(y)} for y in ys]}
    os.makedirs(sys.argv[1],exist_ok=True); json.dump(doc,open(f'{sys.argv[1]}/{name}.json','w')); print(name,m.input_names,os.path.getsize(f'{sys.argv[1]}/{name}.json'),flush=True)
